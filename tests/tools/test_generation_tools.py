"""The commands of image generation: from shapes to a training on their images, and one message for what is wrong."""
import json
import re
import sys

import cv2
import pytest

from helpers.tiny_clip import TINY_CLIP
from helpers.tiny_runs import scalars
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.datasets.store import ShapeStore

STAND_IN = str(REPOSITORY / 'configs/generation/built_in_stand_in.py')
PAPER = str(REPOSITORY / 'configs/generation/sd15_controlnet_depth.py')
TRAIN = str(REPOSITORY / 'configs/opendlign_tiny_generated.py')
DEPTH = ['--views', '4', '--resolution', '32', '--workers', '0', '--num-points', '300']


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """run('generate_images', arguments...) -> what the command printed; code: its exit status."""
    monkeypatch.chdir(tmp_path)

    def command(tool: str, *arguments, code: int = 0) -> str:
        module = load_tool(tool)
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
        if not code:
            module.main()
            return ''.join(capfd.readouterr())
        with pytest.raises(SystemExit) as stop:
            module.main()
        printed = capfd.readouterr().err
        assert stop.value.code == code and 'Traceback' not in printed
        return re.search(r'^error: (.*)^\(--traceback', printed, re.DOTALL | re.MULTILINE).group(1)

    return command


def test_from_shapes_to_training(run, tmp_path):
    """The commands in the config's own text, on fewer and smaller views, with a small CLIP."""
    text = ' '.join((REPOSITORY / 'configs/generation/built_in_stand_in.py').read_text().split())
    for tool in ('project_depth.py built-in:5 data/built_in_depth', 'generate_images.py configs',
                 'filter_images.py configs'):
        assert f'python tools/{tool}' in text
    run('project_depth', 'built-in:1', 'data/built_in_depth', *DEPTH, '--projection', 'depth_bins=8')
    made = run('generate_images', STAND_IN, '--cfg-options', 'depth_shape=4,32,32')
    assert re.search(r'process 1 of 1 .*: 64 images of 16 objects in .* images/s, .* s per object', made)
    clip = tmp_path / 'small.json'
    clip.write_text(json.dumps(TINY_CLIP))
    small = ['clip=small', 'pretrained=None', f'model_config={clip}']
    filtered = run('filter_images', STAND_IN, '--contact-sheet', 'sheet.png', '--cfg-options',
                   *[f'filter.clip.{option}' for option in small])
    assert '16 distinct texts' in filtered and re.search(r'\d+ of 16 objects are kept', filtered)
    assert min(cv2.imread('sheet.png').shape[:2]) > 100
    store = ShapeStore('data/built_in_aligned')
    assert store.missing() == [] and all(row['score'] is not None for row in store.rows(0))

    model = [f'model.backbone.{option}' for option in small]
    run('encode_images', TRAIN, 'data/built_in_aligned', 'data/features', '--cfg-options', *model)
    run('train', TRAIN, '--work-dir', 'run', '--cfg-options', *model, 'train_cfg.max_epochs=2',
        'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0', 'default_hooks.logger.interval=1',
        'train_dataloader.dataset.only_kept=False', 'train_dataloader.dataset.image_features=data/features',
        f'experiment_name={tmp_path}')
    assert len(scalars('run')) == 8


def test_what_is_wrong_is_said(run, tmp_path):
    assert 'config nowhere.py does not exist' in run('generate_images', 'nowhere.py', code=2)
    assert 'configs of image generation' in run('generate_images', TRAIN, code=2)
    assert 'data/depth_views does not exist' in run('generate_images', PAPER, code=2)
    assert 'data/depth_aligned/store.json does not exist' in run('filter_images', PAPER, code=2)
    assert 'no_such_shapes' in run('project_depth', 'no_such_shapes', 'out', code=2)
    assert "N in 'built-in:N' must be a number" in run('project_depth', 'built-in:many', 'out', code=2)
    assert 'number of views must be >= 1' in run('project_depth', 'built-in:1', 'out', '--views', '0', code=2)
    assert 'data/built_in_aligned/store.json' in run('train', TRAIN, code=2)
    (tmp_path / 'empty').mkdir()
    assert 'no file *_dm.npy' in run('generate_images', PAPER, '--cfg-options', 'source=empty', code=2)
    run('project_depth', 'built-in:1', 'data/built_in_depth', *DEPTH)
    # Views of another size than the config wants: each object is named, none is made.
    message = run('generate_images', STAND_IN, code=2)
    assert message.startswith('16 objects have no images') and '(4, 32, 32)' in message
    message = run('filter_images', STAND_IN, '--contact-sheet', 'sheet.png', code=2)
    assert message.startswith('data/built_in_aligned has no images to filter')
    assert not (tmp_path / 'sheet.png').exists()
