"""Widgets of the page: three tabs, each with its inputs beside its results."""
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ..point_files.formats import FORMATS
from .figures import draw_boxes, draw_points
from .jobs import EXAMPLES, WORDS, Jobs, SceneResult, example_room, example_shape, save_json
from .visitors import guarded

CSS = '''
.gradio-container, .gradio-container main {
  width: 100% !important; max-width: 1280px !important; margin: 0 auto !important}
.note {font-size: .85em; opacity: .8}
footer {display: none !important}
.views .grid-wrap {min-height: 0 !important; max-height: none !important; height: auto !important}
.views .caption-label {font-size: 11px; left: 0; right: 0; max-width: 100%; text-align: center; border-width: 1px 0 0;
  white-space: nowrap; padding: 1px 2px}
@media (max-width: 640px) {
  .gradio-container main {padding: 8px !important}
  #search-gallery .grid-container {grid-template-columns: repeat(3, minmax(0, 1fr)) !important}
}
'''
# One job at a time on the server; drawing and downloads need not wait for it.
_JOB = dict(concurrency_id='model', concurrency_limit=1, api_visibility='private')
_QUICK = dict(concurrency_limit=4, api_visibility='private', show_progress='hidden')
_UPLOADS = sorted(set(FORMATS) - {'.bin'})
_ROOM = 'example room'
_CAPTIONS = dict(depth='Depth views, as the model sees them', color='Depth views; the model sees these views in color',
                 both='Depth views, as the model sees them, besides views in color')


def build_page(jobs: Jobs) -> gr.Blocks:
    """Return the page.

    Args:
        jobs: What the page does.
    """
    with gr.Blocks(analytics_enabled=False, title='OpenDlign', delete_cache=(60, 1800)) as page:
        gr.Markdown('# OpenDlign\nName objects in point clouds, meshes and scans, in words of your own. '
                    f'Model: {_escaped(str(jobs.model))}.')
        with gr.Tabs():
            with gr.Tab('Classify', id='classify'):
                _classify_tab(jobs)
            with gr.Tab('Detect', id='detect'):
                _detect_tab(jobs)
            with gr.Tab('Search', id='search'):
                _search_tab(jobs)
    page.queue(max_size=20, api_open=False)
    return page


def _classify_tab(jobs: Jobs) -> None:
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            file = gr.File(label='Shape: point cloud or mesh', file_types=_UPLOADS, height=160, elem_id='shape-file')
            example = gr.Radio(list(EXAMPLES), label='or an example', elem_id='shape-example')
            words = gr.Textbox(WORDS, label='Words to choose from, separated by commas', lines=2, elem_id='shape-words')
            up = gr.Radio(['auto', 'z', 'y'], value='auto', label='Axis that points up')
            button = gr.Button('Classify', variant='primary', elem_id='shape-run')
        with gr.Column(scale=3, min_width=300):
            answer = gr.Label(label='Scores', num_top_classes=5, elem_id='shape-answer')
            note = gr.Markdown(elem_classes='note', elem_id='shape-note')
            plot = gr.Plot(label='Points', elem_id='shape-plot')
            gr.Markdown(_CAPTIONS[jobs.looks_at], elem_classes='note')
            views = gr.Gallery(show_label=False, columns=5, height='auto', object_fit='contain', elem_id='shape-views',
                               elem_classes='views', preview=False)
            download = gr.DownloadButton('Download JSON', interactive=False, elem_id='shape-json')

    def classify(path: str | None, name: str | None, text: str, axis: str) -> tuple:
        source = _source(path, name, example_shape)
        found = jobs.classify(source, text, axis)
        scores = dict(zip(found.labels, found.scores, strict=True))
        saved = save_json('classification.json', dict(labels=found.labels, scores=found.scores))
        pictures = [(Image.fromarray(view), f'view {number}') for number, view in enumerate(found.views, start=1)]
        return (scores, _notes(found.notes), draw_points(found.points), pictures,
                gr.DownloadButton(value=saved, interactive=True))

    gr.on([button.click, words.submit], guarded(classify, gr.Error), [file, example, words, up],
          [answer, note, plot, views, download], **_JOB)
    _exclude(file, example)


def _detect_tab(jobs: Jobs) -> None:
    result = gr.State(None, time_to_live=1800)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            file = gr.File(label='Scan: point cloud or mesh of a room', file_types=_UPLOADS, height=160,
                           elem_id='scene-file')
            example = gr.Radio([_ROOM], label='or an example', elem_id='scene-example')
            words = gr.Textbox(WORDS, label='Words to look for, separated by commas', lines=2, elem_id='scene-words')
            with gr.Row():
                up = gr.Radio(['auto', 'z', 'y', '-y'], value='auto', label='Axis that points up', min_width=130)
                units = gr.Radio(['auto', 'm', 'cm', 'mm'], value='auto', label='Unit', min_width=130)
            button = gr.Button('Detect', variant='primary', elem_id='scene-run')
        with gr.Column(scale=3, min_width=300):
            plot = gr.Plot(label='Scene', elem_id='scene-plot')
            threshold = gr.Slider(0, 1, .3, step=.01, label='Lowest score', elem_id='scene-threshold')
            note = gr.Markdown(elem_classes='note', elem_id='scene-note')
            table = gr.Dataframe(headers=['#', 'label', 'score', 'points', 'center', 'size'], interactive=False,
                                 wrap=True, elem_id='scene-table', max_height=320)
            download = gr.DownloadButton('Download JSON', interactive=False, elem_id='scene-json')

    def detect(path: str | None, name: str | None, text: str, axis: str, unit: str, lowest: float) -> tuple:
        found = jobs.detect(_source(path, name, lambda _: example_room()), text, axis, unit)
        return (found, *show(found, lowest))

    def show(found: SceneResult | None, lowest: float) -> tuple:
        if found is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        chosen = found.above(lowest)
        rows = [found.rows[index] for index in chosen]
        figure = draw_boxes(found.points, found.colors, found.boxes[chosen], [row['label'] for row in rows],
                            [row['score'] for row in rows])
        saved = save_json('detections.json', dict(lowest_score=lowest, boxes=rows))
        said = (f'{len(rows)} of {len(found.rows)} boxes have at least this score. Drag the scene to turn it, and '
                'point at the name of a box to see its score.')
        return (figure, _notes([said, *found.notes]), _table(rows), gr.DownloadButton(value=saved, interactive=True))

    shown = [plot, note, table, download]
    gr.on([button.click, words.submit], guarded(detect, gr.Error), [file, example, words, up, units, threshold],
          [result, *shown], **_JOB)
    threshold.release(guarded(show, gr.Error), [result, threshold], shown, **_QUICK)
    _exclude(file, example)


def _search_tab(jobs: Jobs) -> None:
    names = jobs.index_names()
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            where = gr.Dropdown(names, value=names[0], label='Shapes to search', elem_id='search-where')
            text = gr.Textbox(label='Words', placeholder='a chair with arms', elem_id='search-words')
            picture = gr.Image(label='or a picture', type='pil', height=180, sources=['upload'],
                               elem_id='search-picture')
            shape = gr.File(label='or a shape', file_types=_UPLOADS, height=160, elem_id='search-shape')
            button = gr.Button('Search', variant='primary', elem_id='search-run')
        with gr.Column(scale=3, min_width=300):
            note = gr.Markdown('The most similar shapes, with their cosine', elem_classes='note', elem_id='search-note')
            gallery = gr.Gallery(show_label=False, columns=4, height='auto', object_fit='contain',
                                 elem_id='search-gallery', elem_classes='views', preview=False)

    def search(name: str, words: str, image: Image.Image | None, path: str | None) -> tuple:
        found, kind = jobs.search(name, words, image, path)
        return [(Image.fromarray(view), title) for view, title in found], _notes([kind])

    gr.on([button.click, text.submit], guarded(search, gr.Error), [where, text, picture, shape], [gallery, note],
          **_JOB)


def _source(path: str | None, example: str | None, make: Any) -> 'str | np.ndarray':
    if path:
        return path
    if not example:
        raise ValueError('upload a file or choose an example')
    return make(example)


def _exclude(file: gr.File, example: gr.Radio) -> None:
    """Let an upload and an example replace each other."""
    file.upload(lambda: None, None, example, **_QUICK)
    example.input(lambda: None, None, file, **_QUICK)


def _table(rows: Sequence[dict]) -> list[list]:
    table = []
    for number, row in enumerate(rows, start=1):
        center, size = row['bbox_3d'][:3], row['bbox_3d'][3:6]
        table.append([number, row['label'], f'{row["score"]:.2f}', row['num_points'],
                      ', '.join(f'{value:.4g}' for value in center), ' x '.join(f'{value:.3g}' for value in size)])
    return table


def _notes(notes: Sequence[str]) -> str:
    return '\n\n'.join(_escaped(note[:1].upper() + note[1:]) for note in notes)


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return ''.join(f'\\{letter}' if letter in '\\`*_{}[]<>()#+!|~$' else letter for letter in text)
