"""tools/train.py and tools/test.py from end to end, with the demonstration config made small."""
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config

from helpers.small_tools import CONFIG, SmallTools
from helpers.tiny_runs import scalars
from helpers.tool_modules import REPOSITORY
from opendlign_mm.apis import init_model


@pytest.fixture
def tools(monkeypatch, tmp_path) -> SmallTools:
    return SmallTools(monkeypatch, tmp_path)


def test_train_then_test(tools, capfd):
    work_dir = tools.folder / 'run'
    tools.run('train', CONFIG, '--work-dir', str(work_dir))
    log = ''.join(capfd.readouterr())
    # Attention of one block of width 32: in (3 * 32 * 33) and out (32 * 33).
    assert 'CLIP: small' in log and f'parameters trained: {4 * 32 * 33:,} of' in log
    losses = scalars(work_dir)
    assert sorted(losses) == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert all(torch.isfinite(torch.tensor(row['loss'])) for row in losses.values())
    checkpoint = work_dir / 'epoch_2.pth'
    assert checkpoint.stat().st_size < 300_000, 'a checkpoint holds what was trained, not the CLIP'
    assert (work_dir / 'opendlign_tiny.py').is_file()

    tools.run('test', CONFIG, str(checkpoint), '--work-dir', str(work_dir))
    log = ''.join(capfd.readouterr())
    assert 'zero_shot/top1:' in log and 'bookshelf' in log
    aligned = tools.metrics(work_dir)
    assert 0 <= aligned['zero_shot/top1'] <= 100 and aligned['zero_shot/top1'] % (100 / 16) == 0, '16 objects'

    # Without a checkpoint both branches are CLIP, so the scores are those of the frozen one.
    tools.run('test', CONFIG, '--work-dir', str(work_dir), '--amp')
    untrained = tools.metrics(work_dir)
    assert untrained['zero_shot/top1'] == untrained['zero_shot/top1_frozen'] == aligned['zero_shot/top1_frozen']

    # What a notebook loads is what was trained.
    model = init_model(CONFIG, checkpoint, cfg_options=tools.model_options)
    assert not model.training and model.dataset_meta['classes'][0] == 'chair'
    stored = torch.load(checkpoint)['state_dict']
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name]), name
    fresh = init_model(CONFIG, cfg_options=tools.model_options)
    changed = [name for name, value in fresh.state_dict().items() if not torch.equal(value, stored[name])]
    assert 'backbone.tuned_blocks.0.attn.in_proj_weight' in changed


def test_resume_option_goes_on_from_the_latest_checkpoint(tools):
    work_dir = tools.folder / 'run'
    tools.run('train', CONFIG, '--work-dir', str(work_dir), options=['train_cfg.max_epochs=1'])
    assert max(scalars(work_dir)) == (1, 2)
    tools.run('train', CONFIG, '--work-dir', str(work_dir), '--resume', options=['train_cfg.max_epochs=3'])
    assert sorted(scalars(work_dir)) == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]
    assert (work_dir / 'last_checkpoint').read_text().endswith('epoch_3.pth')


def test_amp_and_auto_scale_lr_options(tools):
    work_dir = tools.folder / 'run'
    tools.run('train', CONFIG, '--work-dir', str(work_dir), '--amp', '--auto-scale-lr',
              options=['optim_wrapper.type=OptimWrapper', 'train_cfg.max_epochs=4'])
    config = Config.fromfile(work_dir / 'opendlign_tiny.py')
    assert config.optim_wrapper.type == 'AutocastOptimWrapper' and config.auto_scale_lr.enable
    assert config.model.backbone.precision == 'auto'
    assert max(row['lr'] for row in scalars(work_dir).values()) == pytest.approx(3e-4 * 4 / 128, rel=.05)


def test_depth_views_are_made_once(tools):
    work_dir = tools.folder / 'run'
    tools.run('train', CONFIG, '--work-dir', str(work_dir))
    files = {path: path.stat().st_mtime_ns for path in tools.cache_dir.rglob('*.npz')}
    assert len(files) == 8
    tools.run('train', CONFIG, '--work-dir', str(work_dir))
    assert files == {path: path.stat().st_mtime_ns for path in tools.cache_dir.rglob('*.npz')}


def test_from_another_folder(tmp_path):
    """A clone works without PYTHONPATH, wherever the shell stands."""
    finished = subprocess.run([sys.executable, str(REPOSITORY / 'tools/train.py'), 'nowhere.py'], cwd=tmp_path,
                              capture_output=True, text=True, timeout=120)
    assert finished.returncode == 2 and 'Traceback' not in finished.stderr
    assert 'error: config nowhere.py does not exist' in finished.stderr


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_launch_scripts_say_how_they_are_called(script):
    finished = subprocess.run(['bash', str(REPOSITORY / f'tools/{script}.sh')], capture_output=True, text=True)
    assert finished.returncode == 2 and f'tools/{script}.sh ' in finished.stderr and 'CONFIG' in finished.stderr


def test_the_script_of_several_processes_starts_the_test(tmp_path):
    """With an interpreter that prints what it is asked to do; test_ddp.py runs the script of training."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    finished = subprocess.run(['bash', str(REPOSITORY / 'tools/dist_test.sh'), 'c.py', 'a.pth', '3', '--amp'],
                              capture_output=True, text=True, check=True,
                              env=dict(PATH='/usr/bin:/bin', PYTHON=str(python)))
    words = finished.stdout.split()
    assert words[:2] == ['-m', 'torch.distributed.run'] and '--nproc_per_node=3' in words
    assert words[-6:] == [str(REPOSITORY / 'tools/test.py'), 'c.py', 'a.pth', '--amp', '--launcher', 'pytorch']


def test_slurm_scripts_start_the_tools(tmp_path):
    """With an srun that prints what it is asked to do."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    environment = dict(PATH=f'{tmp_path}:/usr/bin:/bin', PYTHON='python', GPUS='4', GPUS_PER_NODE='2',
                       SRUN_ARGS='-q x')
    script = str(REPOSITORY / 'tools/slurm_train.sh')
    finished = subprocess.run(['bash', script, 'part', 'job', 'c.py', 'work', '--amp'], capture_output=True, text=True,
                              env=environment, check=True)
    words = finished.stdout.split('\n')
    assert {'--ntasks=4', '--gres=gpu:2', '-q', 'x', '--amp'} <= set(words)
    assert words[words.index('c.py') + 1:words.index('c.py') + 3] == ['--work-dir', 'work']
    assert words[words.index('--launcher') + 1] == 'slurm'
