"""Rows of the paper's ablations, tables 4, 5, 10 and 11: their switches, and their runs on the published data."""
from collections.abc import Callable, Sequence
from dataclasses import replace

from .table_rows import BENCHMARKS, SHOTS, Row, Run, Training

# Columns of table 4, in its order, and its rows.
PARTS = ('contour-aware projection', 'alignment', 'depth texts', 'aggregation')
PART_ROWS = ((0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 1, 1, 0), (1, 1, 0, 1), (1, 1, 1, 1))
# Settings of table 10 (residual tuning, trainable copy, number of blocks, distance loss) -> name of the row.
TUNINGS = {
    (0, 1, 1, 0): 'without residual tuning', (1, 0, 1, 0): 'without a trainable copy',
    (1, 1, 1, 0): 'without the distance loss', (1, 1, 2, 1): 'two blocks', (1, 1, 3, 1): 'three blocks',
    (1, 1, 1, 1): "the paper's"}
NUMBERS_OF_VIEWS = (1, 2, 4, 6, 8, 10)
# Settings of tools/few_shot.py for table 11.
SIXTEEN_SHOTS = ('--shots', '16')


def parts_name(switches: Sequence[int | bool]) -> str:
    """Return the name of a row of table 4 by its four switches."""
    return ' + '.join(part for part, on in zip(PARTS, switches, strict=True) if on) or 'none of the parts'


def part_options(switches: Sequence[int], plain_prompts: str) -> tuple[str, ...]:
    """Return the options of a row of table 4, except those of the projection.

    Args:
        switches: Contour-aware projection, alignment, depth texts, aggregation; 0 or 1.
        plain_prompts: Templates for photographs, as an option.
    """
    _, aligned, texts, aggregated = switches
    branches = () if aggregated else (f'model.zero_shot_head.branches={"tuned" if aligned else "pretrained"}', )
    return branches if texts else (*branches, f'model.zero_shot_head.templates={plain_prompts}')


def tunings() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return (row of table 10, reading) -> options of the model; no options are the paper's own setting.

    The paper names some switches without saying what they stand for. Each reading has a row of its own.
    """
    no_distance = ('model.alignment_head.distance=None', )
    names = list(TUNINGS.values())
    found = {(names[0], ''): ('model.backbone.combine=shared', *no_distance),
             (names[1], 'random block'): ('model.backbone.copy_init=random_block', *no_distance),
             (names[1], 'random attention'): ('model.backbone.copy_init=random', *no_distance),
             (names[2], ''): no_distance}
    for name, count in ((names[3], 2), (names[4], 3)):
        found[name, 'stacked'] = (f'model.backbone.num_blocks={count}', 'model.backbone.stacked=True')
        found[name, 'the last ones'] = (f'model.backbone.num_blocks={count}', )
    return {**found, (names[5], ''): ()}


TUNING_NOTES = {
    'without residual tuning': 'one block for depth maps and images, combine=shared',
    'random block': 'the whole block starts at random, as the paper words it',
    'random attention': 'only the attention, which is what is trained, starts at random',
    'stacked': "copies of the last block in a row, as the authors' code does it",
    'the last ones': 'copies of the last blocks'}


def tuning_note(method: str, reading: str) -> str:
    """Return which reading of the paper a row of table 10 is."""
    return TUNING_NOTES.get(reading, TUNING_NOTES.get(method, ''))


def views_name(count: int) -> str:
    """Return the name of a row of table 11."""
    return f'{count} view{"s" * (count > 1)}'


def view_options(count: int) -> tuple[str, ...]:
    """Return the option that keeps ``count`` of the views, evenly spaced."""
    return (f"select_views=[{{'type':'SelectViews','num_views':{count}}}]", )


def _table4() -> list[Row]:
    rows = []
    for switches in PART_ROWS:
        runs = []
        for column in ('ModelNet40', 'ScanObjectNN'):
            # The authors publish depth maps of their own projection alone.
            config = f'benchmarks/opendlign_h14_{BENCHMARKS[column]}{"" if switches[0] else "_points"}.py'
            projection = 'test_dataloader.dataset.pipeline.0.transforms.1.projection'
            other = () if switches[0] else (f'{projection}._delete_=True', f'{projection}.type=RealisticProjection',
                                            f'{projection}.output_resolution=224', f'{projection}.align_corners=True')
            runs.append(Run(column, config, 'opendlign_h14' if switches[1] else None,
                            (*part_options(switches, 'imagenet'), *other), authors_prompts=bool(switches[2])))
        rows.append(Row(parts_name(switches), runs=tuple(runs), note='' if switches[0] else (
            "PointCLIP V2's projection and its ten views, on all points of the clouds, z up")))
    return rows


def strategies(folder: str) -> dict[str, Training]:
    """Return row of table 5 -> training, except for the paper's own row.

    Args:
        folder: Beginning of the paths of the configs, such as 'alignment/tiny_'.
    """
    first = Training(f'{folder}dlign_text.py')
    return {'depth-rendCAD': Training(f'{folder}depth_rendcad.py'),
            'dlign-text & depth': Training(f'{folder}dlign_text_depth.py', clip=first),
            'depth-text & dlign': Training(f'{folder}depth_text_dlign.py')}


STRATEGY_NOTES = {
    'depth-rendCAD': 'renderings of the CAD models in the place of depth-aligned images',
    'dlign-text & depth': 'first the image encoder is tuned on images and texts, then depth maps are aligned with it',
    'depth-text & dlign': 'a text term beside the image term', 'depth-dlign': ''}


def _table5() -> list[Row]:
    trainings = strategies('alignment/opendlign_h14_')
    # Streamed trainings keep checkpoints by iteration unless they are told otherwise.
    by_epoch = ('default_hooks.checkpoint.by_epoch=True', 'default_hooks.checkpoint.interval=1')
    trainings['depth-rendCAD'] = replace(trainings['depth-rendCAD'], options=by_epoch)
    captions = '; the release has no captions: shapenet/captions.json is {id: text}'
    return [Row(method, runs=tuple(
        Run(column, f'benchmarks/opendlign_h14_{name}.py', trainings.get(method, 'opendlign_h14'), authors_prompts=True)
        for column, name in BENCHMARKS.items()), note=note + captions * ('text' in method))
        for method, note in STRATEGY_NOTES.items()]


def _table10() -> list[Row]:
    rows = []
    for (method, reading), options in tunings().items():
        checkpoint = Training('opendlign_h14.py', options) if options else 'opendlign_h14'
        rows.append(Row(method, reading, tuple(
            Run(column, f'benchmarks/opendlign_h14_{name}.py', checkpoint, options, authors_prompts=True)
            for column, name in BENCHMARKS.items()), tuning_note(method, reading)))
    return rows


def _table11() -> list[Row]:
    return [Row(views_name(count), runs=tuple(
        Run(column, f'benchmarks/opendlign_h14_{name}_points.py', 'opendlign_h14',
            ('cache_dir=work_dirs/cache', *view_options(count)), 'few_shot', (*SIXTEEN_SHOTS, *SHOTS[column]))
        for column, name in BENCHMARKS.items()), note='evenly spaced views; the paper does not say which')
        for count in NUMBERS_OF_VIEWS]


ABLATIONS: dict[str, Callable[[], list[Row]]] = {'4': _table4, '5': _table5, '10': _table10, '11': _table11}
