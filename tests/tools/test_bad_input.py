"""Wrong input to the tools and to init_model: one message that names the thing, no traceback, exit code 2."""
import re

import pytest
import torch
from mmengine.config import Config

from helpers.small_tools import CONFIG, SmallTools
from opendlign_mm.apis import init_model
from opendlign_mm.command_line.required_inputs import require_inputs
from opendlign_mm.command_line.user_errors import user_errors


@pytest.fixture
def fails(monkeypatch, tmp_path, capfd):
    """fails('train', arguments..., options=[...]) -> the message that the tool printed."""
    tools = SmallTools(monkeypatch, tmp_path)

    def run(tool: str, *arguments: str, options=()) -> str:
        with pytest.raises(SystemExit) as stop:
            tools.run(tool, *arguments, '--work-dir', str(tmp_path / 'run'), options=options)
        assert stop.value.code == 2
        errors = capfd.readouterr().err
        assert 'Traceback' not in errors
        return re.search(r'^error: (.*)^\(--traceback', errors, re.DOTALL | re.MULTILINE).group(1)

    run.tools = tools
    return run


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of the small demonstration model, made by hand: {'state_dict': ..., 'meta': ...}."""

    def save(model_options: dict, name: str) -> str:
        model = init_model(CONFIG, cfg_options=model_options)
        torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1, iter=1)), tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_missing_config(fails, tool):
    assert 'config nowhere/at_all.py does not exist' in fails(tool, 'nowhere/at_all.py')


def test_missing_checkpoint(fails):
    assert 'checkpoint missing.pth does not exist' in fails('test', CONFIG, 'missing.pth')
    assert 'checkpoint missing.pth does not exist' in fails('train', CONFIG, '--resume', 'missing.pth')
    assert 'checkpoint missing.pth does not exist' in fails('train', CONFIG, options=['load_from=missing.pth'])


def test_checkpoint_of_another_clip(fails, checkpoint):
    options = dict(fails.tools.model_options)
    options['model.backbone.clip'] = 'other'
    options['model.backbone.random_seed'] = 7
    message = fails('test', CONFIG, checkpoint(options, 'other.pth'))
    assert "CLIP 'other'" in message and "CLIP 'small'" in message and 'random, seed 7' in message


def test_checkpoint_of_another_model(fails, tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Conv2d(1, 1, 1)).state_dict()
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'resnet.pth')
    message = fails('test', CONFIG, str(tmp_path / 'resnet.pth'))
    assert 'resnet.pth is a checkpoint of another model' in message and '0.weight' in message


def test_missing_weights(fails):
    message = fails('train', CONFIG, options=['model.backbone.pretrained=no/such/weights.safetensors'])
    assert 'no/such/weights.safetensors' in message and 'pretrained=' in message


@pytest.mark.parametrize('content', ['flat', 'file'])
def test_shapes_without_class_folders_are_refused_before_weights_are_looked_for(tmp_path, monkeypatch, content):
    (tmp_path / 'flat').mkdir()
    for path in (tmp_path / 'flat/a.npy', tmp_path / 'file'):
        path.touch()
    monkeypatch.setattr('opendlign_mm.command_line.required_inputs._weights_to_download', lambda _: pytest.fail())
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='ShapeFolder', data_root=str(tmp_path / content)))))
    with pytest.raises(ValueError, match='one sub-folder of shape files for each class: --cfg-options data_root='):
        require_inputs(cfg, 'test_dataloader')


def test_missing_data_names_the_file(fails):
    config = Config.fromfile(CONFIG)
    config.data_root = 'data/scannet/'
    config.test_dataloader.dataset = dict(type='ScanNetDataset', data_root='data/scannet/', ann_file='infos_val.pkl')
    config.dump(fails.tools.folder / 'scannet.py')
    fails.tools.options = {key: value for key, value in fails.tools.options.items() if 'test_dataloader' not in key}
    message = fails('test', str(fails.tools.folder / 'scannet.py'), options=['data_root=no/such/folder'])
    assert 'no/such/folder/infos_val.pkl' in message


@pytest.mark.parametrize('options, words', [
    (['train_dataloader.dataset.categories=chair,spaceship'], ['spaceship', 'bathtub']),
    (['train_dataloader.dataset.split=holdout'], ['holdout', 'val']),
    (['model.zero_shot_head.class_names=[]'], ['vocabulary']),
    (['model.zero_shot_head.class_names=chair,chair'], ['chair']),
    (['model.zero_shot_head.aggregation=median'], ['median', 'softmax_sum']),
    (['model.backbone.type=CLIPBackbone'], ['CLIPBackbone', 'registry']),
    (['optim_wrapper.dtype=float16'], ['float16', 'AmpOptimWrapper']),
])
def test_wrong_names_and_values(fails, options, words):
    message = fails('train', CONFIG, options=options)
    assert all(word in message for word in words), message


def test_scaling_without_a_base(fails):
    message = fails('train', CONFIG, '--auto-scale-lr', options=['auto_scale_lr=None'])
    assert 'base_batch_size' in message


def test_predictions_are_drawn_also_without_a_visualization_hook(monkeypatch, tmp_path):
    tools = SmallTools(monkeypatch, tmp_path)
    tools.run('test', CONFIG, '--work-dir', str(tmp_path / 'run'), '--show-dir', 'figures',
              options=['default_hooks.visualization=None'])
    assert len(list((tmp_path / 'run').glob('*/figures/*.png'))) == 16, 'one for each object'


def test_init_model(checkpoint, tmp_path, monkeypatch):
    tools = SmallTools(monkeypatch, tmp_path)
    with pytest.raises(FileNotFoundError, match='config .*nowhere.py'):
        init_model('nowhere.py')
    with pytest.raises(FileNotFoundError, match='missing.pth'):
        init_model(CONFIG, 'missing.pth', cfg_options=tools.model_options)
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / 'linear.pth')
    with pytest.raises(RuntimeError, match='linear.pth is a checkpoint of another model'):
        init_model(CONFIG, tmp_path / 'linear.pth', cfg_options=tools.model_options)
    other = checkpoint({**tools.model_options, 'model.backbone.random_seed': 7}, 'other.pth')
    with pytest.raises(RuntimeError, match='seed 7.*seed 0'):
        init_model(CONFIG, other, cfg_options=tools.model_options)


def test_a_defect_keeps_its_traceback():
    """Only messages meant for the user are shortened."""
    with pytest.raises(ZeroDivisionError), user_errors():
        1 / 0
    with pytest.raises(RuntimeError), user_errors():
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    with pytest.raises(FileNotFoundError), user_errors(show_traceback=True):
        init_model('nowhere.py')


def test_an_error_of_a_library_in_words_of_this_project_is_a_message(tmp_path, capfd):
    from opendlign_mm.detection.proposals.given_boxes import read_boxes
    (tmp_path / 'boxes.json').write_text('{"boxes": [')
    with pytest.raises(SystemExit) as stop, user_errors():
        read_boxes(tmp_path / 'boxes.json')
    errors = capfd.readouterr().err
    assert stop.value.code == 2 and 'boxes.json cannot be read as boxes' in errors and 'Traceback' not in errors


@pytest.mark.parametrize('workers', [0, 2])
def test_nan_points_are_counted(fails, workers):
    """Through the whole pipeline, in this process and in data workers: a transform spoils two points."""
    from mmdet3d.registry import TRANSFORMS

    @TRANSFORMS.register_module(force=True)
    class SpoilTwoPoints:

        def __call__(self, results):
            results['points'][:2, 1] = float('nan')
            return results

    config = Config.fromfile(CONFIG)
    cached = config.test_dataloader.dataset.pipeline[0]
    cached.transforms.insert(1, dict(type='SpoilTwoPoints'))  # once the points are there
    path = fails.tools.folder / 'spoiled.py'
    config.dump(path)
    message = fails('test', str(path), options=[
        'test_dataloader.dataset.pipeline.0.cache_dir=None', f'test_dataloader.num_workers={workers}'])
    assert message.count('\n') <= 1 and '2 of 300 points' in message and 'chair-test-0-0-300' in message
