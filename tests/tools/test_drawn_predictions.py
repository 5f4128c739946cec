"""tools/test.py --show-dir draws classified shapes and detected scenes, without a display, and never costs metrics."""
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from helpers.small_tools import CONFIG, SmallTools
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.datasets.procedural.room_writer import write_rooms
from opendlign_mm.engine.hooks import DrawPredictionsHook
from opendlign_mm.structures import ShapeDataSample
from opendlign_mm.visualization.visualizer import FigureVisualizer


@pytest.fixture
def tools(monkeypatch, tmp_path) -> SmallTools:
    return SmallTools(monkeypatch, tmp_path)


def content(path) -> float:
    """Share of the pixels that are not white."""
    return float((np.asarray(Image.open(path).convert('L')) < 250).mean())


def test_classified_shapes_are_drawn_in_a_test(tools, capfd):
    tools.run('test', CONFIG, '--work-dir', str(tools.folder / 'run'), '--show-dir', 'figures')
    figures = sorted((tools.folder / 'run').glob('*/figures/*.png'))
    assert len(figures) == 16, 'one for each object'
    assert figures[0].stem == 'bathtub-test-0-0-300' and all(content(path) > .02 for path in figures)
    assert 'zero_shot/top1:' in ''.join(capfd.readouterr()) and tools.metrics(tools.folder / 'run')


def test_scenes_are_drawn_in_a_test(tools):
    rooms = tools.folder / 'rooms'
    write_rooms(rooms, num_val=2, num_points=3000)
    tools.options = {
        **{key.replace('model.', 'model.classifier.'): value for key, value in tools.model_options.items()},
        'data_root': str(rooms), 'model.proposals.type': 'GroundTruthProposals', 'test_dataloader.num_workers': 0}
    tools.run('test', str(REPOSITORY / 'configs/opendlign_tiny_scannet.py'), '--work-dir', str(tools.folder / 'run'),
              '--show-dir', str(tools.folder / 'figures'), '--score-thr', '0')
    figures = sorted((tools.folder / 'figures').iterdir())
    assert [path.name for path in figures] == ['room_val_0000.png', 'room_val_0001.png']
    images = [np.asarray(Image.open(path).convert('RGB')).astype(int) for path in figures]
    for image in images:  # annotations in green on the left, predictions in red on the right
        green, red = image[..., 1] - image[..., 0] > 60, image[..., 0] - image[..., 1] > 100
        half = image.shape[1] // 2
        assert green[:, :half].sum() > 300 and green[:, half:].sum() < green[:, :half].sum() / 10
        assert red[:, half:].sum() > 300 and red[:, :half].sum() < red[:, half:].sum() / 10


def test_boxes_below_the_threshold_are_not_drawn(tmp_path):
    from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
    from mmengine.structures import InstanceData
    boxes = DepthInstance3DBoxes(torch.tensor([[x, 0, 0, 1, 1, 1] for x in (0., 3., 6.)]), 6, False)
    sample = Det3DDataSample(pred_instances_3d=InstanceData(
        bboxes_3d=boxes, scores_3d=torch.tensor([.2, .9, .5]), labels_3d=torch.tensor([0, 1, 7])))
    drawn = []
    visualizer = FigureVisualizer('boxes of this test', max_boxes=1)
    visualizer.dataset_meta = dict(classes=('bed', 'lamp'))

    def draw(points, path, predicted, names, truth, truth_names, title):
        drawn.append((predicted.tensor[:, 0].tolist(), names))
        Image.new('RGB', (8, 8)).save(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('opendlign_mm.visualization.visualizer.draw_scene_from_above', draw)
        for visualizer.max_boxes, threshold in ((9, .4), (9, 0.), (1, 0.)):
            visualizer.add_datasample('scene', dict(points=torch.rand(9, 3)), sample, out_file=tmp_path / 'a.png',
                                      pred_score_thr=threshold)
    assert drawn == [([3., 6.], ['lamp 0.90', 'class 7 0.50']),
                     ([3., 6., 0.], ['lamp 0.90', 'class 7 0.50', 'bed 0.20']), ([3.], ['lamp 0.90'])]


def test_names_of_shapes_are_those_of_the_vocabulary(tmp_path):
    sample = ShapeDataSample(metainfo=dict(sample_id='a', category='bed'))
    sample.set_pred_scores(torch.tensor([.1, .7, .2]), ('cup', 'sofa', 'desk'))
    lines = []
    visualizer = FigureVisualizer('shapes of this test', num_classes=2)
    visualizer.dataset_meta = dict(classes=('bed', 'lamp'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('opendlign_mm.visualization.visualizer.depth_contact_sheet',
                      lambda views, titles, path: (lines.extend(titles), Image.new('RGB', (8, 8)).save(path)))
        visualizer.add_datasample('a', dict(depth_views=torch.rand(2, 8, 8)), sample, out_file=tmp_path / 'a.png')
    assert lines == ['a\nclass: bed\nsofa 0.7\ndesk 0.2']
    with pytest.raises(ValueError, match="a has neither 'points' nor 'depth_views'"):
        visualizer.add_datasample('a', dict(img=torch.rand(2)), sample)


def test_uint8_views_are_drawn_as_floats_are(tmp_path):
    views = torch.randint(0, 256, (2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    visualizer = FigureVisualizer('uint8 of this test')
    for name, given in (('a', views), ('b', views.float() / 255)):
        visualizer.add_datasample('x', dict(depth_views=given), out_file=tmp_path / f'{name}.png')
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes() and content(tmp_path / 'a.png') > .1


def test_a_figure_that_fails_is_a_warning(tmp_path):
    """Two samples of one name get two files; the one that cannot be drawn is named."""
    messages, files = [], []

    def add_datasample(name, inputs, sample, out_file, **options):
        if name == 'bad':
            raise OSError('No space left on device')
        files.append(out_file.name)

    runner = SimpleNamespace(log_dir=tmp_path, visualizer=SimpleNamespace(add_datasample=add_datasample),
                             logger=SimpleNamespace(warning=messages.append))
    hook = DrawPredictionsHook(draw=True, test_out_dir='figures')
    samples = [ShapeDataSample(metainfo=dict(sample_id=name)) for name in ('a/b', 'bad', 'a/b')]
    hook.after_test_iter(runner, 0, dict(inputs=dict(depth_views=torch.rand(3, 2, 4, 4))), samples)
    assert files == ['a%2Fb.png', 'a%2Fb_3.png']
    assert messages == ['the figure of bad cannot be drawn: OSError: No space left on device']
    DrawPredictionsHook().after_test_iter(runner, 0, None, samples)  # switched off
    assert len(files) == 2


@pytest.mark.parametrize('config, hook', [
    (dict(), dict(type='DrawPredictionsHook', test_out_dir='out', draw=True)),
    (dict(visualizer=dict(type='Det3DLocalVisualizer'),
          default_hooks=dict(visualization=dict(type='Det3DVisualizationHook'))),
     dict(type='Det3DVisualizationHook', vis_task='lidar_det', test_out_dir='out', draw=True)),
    (dict(visualizer=None, default_hooks=dict(visualization=dict(type='Det3DVisualizationHook'), other=1)),
     dict(type='DrawPredictionsHook', test_out_dir='out', draw=True))])
def test_configs_without_a_visualizer_get_the_one_of_this_package(config, hook):
    cfg = Config(dict(config))
    arguments = SimpleNamespace(show=False, show_dir='out', score_thr=.1, task='lidar_det', wait_time=2)
    load_tool('test').draw_predictions(cfg, arguments)
    chosen = cfg.default_hooks.visualization
    assert {key: chosen.get(key) for key in hook} == hook and ('vis_task' in chosen) == ('vis_task' in hook)
    assert cfg.visualizer.type == ('Det3DLocalVisualizer' if 'vis_task' in hook else 'FigureVisualizer')
    assert cfg.default_hooks.get('other') == config.get('default_hooks', {}).get('other')


def test_the_log_of_a_run_keeps_its_scalars(tools):
    """The visualizer of the configs also writes them, as mmengine's default does."""
    logging.getLogger('mmengine').setLevel(logging.ERROR)
    tools.run('train', CONFIG, '--work-dir', str(tools.folder / 'run'), options=['train_cfg.max_epochs=1'])
    assert len(list((tools.folder / 'run').glob('*/vis_data/scalars.json'))) == 1
