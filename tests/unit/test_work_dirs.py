"""Work directories of trainings: checkpoints to resume from, complete files, one training at a time."""
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from helpers.small_tools import CONFIG, SmallTools
from helpers.tiny_runs import scalars, tiny_config
from helpers.tool_modules import REPOSITORY
from opendlign_mm.engine import latest_checkpoint, work_dir_lock
from opendlign_mm.engine.checkpointing import LOCK_NAME


@pytest.fixture
def tools(monkeypatch, tmp_path) -> SmallTools:
    return SmallTools(monkeypatch, tmp_path)


def config(work_dir, epochs=3, **checkpoint):
    cfg = tiny_config(work_dir, epochs=epochs)
    cfg.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', **dict(dict(interval=1), **checkpoint))
    cfg.experiment_name = f'{work_dir} {epochs}'
    return cfg


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> Path:
    """The work directory of a training of three epochs."""
    work_dir = tmp_path_factory.mktemp('finished')
    Runner.from_cfg(config(work_dir)).train()
    return work_dir


@pytest.fixture
def work_dir(finished, tmp_path) -> Path:
    """A copy of it, as if the directory had been moved."""
    for path in (*finished.glob('*.pth'), finished / 'last_checkpoint'):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        os.utime(tmp_path / path.name, ns=(path.stat().st_mtime_ns, ) * 2)
    return tmp_path


def weights(path) -> dict:
    return torch.load(path, weights_only=True)['state_dict']


def truncate(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def test_the_newest_checkpoint_is_the_one_named(work_dir, finished):
    assert (work_dir / 'last_checkpoint').read_text() == str(finished / 'epoch_3.pth')
    assert latest_checkpoint(work_dir) == work_dir / 'epoch_3.pth', 'in a moved directory'
    (work_dir / 'last_checkpoint').write_text('epoch_1.pth')  # of a second training in the same place
    assert latest_checkpoint(work_dir) == work_dir / 'epoch_1.pth'
    assert latest_checkpoint(work_dir / 'none') is None


@pytest.mark.parametrize('content', [b'', b'\n', b'elsewhere/epoch_9.pth', b'\xff\xfe', b'\0', b'.', None])
def test_without_a_usable_last_checkpoint_the_newest_file_is_taken(work_dir, content, caplog):
    if content is None:
        (work_dir / 'last_checkpoint').unlink()
    else:
        (work_dir / 'last_checkpoint').write_bytes(content)
    assert latest_checkpoint(work_dir) == work_dir / 'epoch_3.pth'


def flip_a_bit(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


@pytest.mark.parametrize('damage', [truncate, flip_a_bit, lambda path: path.write_bytes(b''),
                                    lambda path: path.unlink(), lambda path: torch.save([1], path),
                                    lambda path: torch.save(dict(state_dict={}), path)])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(work_dir, damage, monkeypatch):
    messages = []
    monkeypatch.setattr('opendlign_mm.engine.checkpointing.print_log', lambda message, *_: messages.append(message))
    damage(work_dir / 'epoch_3.pth')
    assert latest_checkpoint(work_dir) == work_dir / 'epoch_2.pth'
    message, = messages
    assert 'epoch_3.pth' in message or 'last_checkpoint does not name a checkpoint' in message
    truncate(work_dir / 'epoch_2.pth')
    assert latest_checkpoint(work_dir) == work_dir / 'epoch_1.pth'


def test_checkpoints_of_which_none_can_be_read_are_an_error(work_dir):
    for path in work_dir.glob('*.pth'):
        truncate(path)
    message = r'no checkpoint can be resumed:(.|\n)*epoch_1.pth is damaged(.|\n)*remove them'
    with pytest.raises(ValueError, match=message):
        latest_checkpoint(work_dir)


def test_other_checkpoints_of_the_folder_are_not_resumed(work_dir):
    (work_dir / 'last_checkpoint').unlink()
    torch.save(dict(state_dict={}), work_dir / 'converted.pth')
    (work_dir / 'best_top1_epoch_3.pth').write_bytes((work_dir / 'epoch_3.pth').read_bytes())
    assert latest_checkpoint(work_dir) == work_dir / 'epoch_3.pth'


@pytest.mark.parametrize('spoil', [
    lambda folder: (folder / 'last_checkpoint').write_text(''), lambda folder: truncate(folder / 'epoch_3.pth')],
    ids=['empty last_checkpoint', 'damaged newest checkpoint'])
def test_a_blocked_training_resumes_and_ends_with_the_same_weights(work_dir, finished, spoil):
    """An empty last_checkpoint or a damaged newest checkpoint used to block --resume for ever."""
    spoil(work_dir)
    cfg = config(work_dir)
    cfg.resume = True
    Runner.from_cfg(cfg).train()
    for name, value in weights(finished / 'epoch_3.pth').items():
        assert torch.equal(value, weights(work_dir / 'epoch_3.pth')[name]), name


def test_resume_option_of_the_tool_with_an_empty_last_checkpoint(tools, capfd):
    work_dir = tools.folder / 'run'
    work_dir.mkdir()
    (work_dir / 'last_checkpoint').write_text('')  # the first checkpoint was never finished
    tools.run('train', CONFIG, '--work-dir', str(work_dir), '--resume', options=['train_cfg.max_epochs=1'])
    assert 'training from the beginning' in ''.join(capfd.readouterr())
    assert max(scalars(work_dir)) == (1, 2) and (work_dir / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    (work_dir / 'last_checkpoint').write_text('')
    tools.run('train', CONFIG, '--work-dir', str(work_dir), '--resume')
    assert sorted(scalars(work_dir)) == [(1, 1), (1, 2), (2, 3), (2, 4)]


def test_old_checkpoints_go_only_after_the_new_one_is_there(tmp_path, monkeypatch):
    """Even the only checkpoint that is kept: at each moment a complete one is there."""
    seen, replace = [], os.replace

    def watch(source, target):
        seen.append((Path(target).name, sorted(path.name for path in tmp_path.glob('epoch_*.pth'))))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', watch)
    Runner.from_cfg(config(tmp_path, max_keep_ckpts=1)).train()
    assert seen == [('epoch_1.pth', []), ('last_checkpoint', ['epoch_1.pth']), ('epoch_2.pth', ['epoch_1.pth']),
                    ('last_checkpoint', ['epoch_1.pth', 'epoch_2.pth']), ('epoch_3.pth', ['epoch_2.pth']),
                    ('last_checkpoint', ['epoch_2.pth', 'epoch_3.pth'])]
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_3.pth']


def test_the_best_checkpoint_is_replaced_after_the_new_one_is_there(tmp_path, monkeypatch):
    cfg = config(tmp_path, save_best='top', rule='greater')
    cfg.merge_from_dict(dict(val_dataloader=cfg.test_dataloader, val_cfg=dict(), train_cfg=dict(val_interval=1),
                             val_evaluator=dict(type='ZeroShotAccuracy')))
    scores, counts, replace = iter([1., 2., 3.]), [], os.replace
    monkeypatch.setattr('opendlign_mm.evaluation.zero_shot_accuracy.ZeroShotAccuracy.compute_metrics',
                        lambda *_: dict(top=next(scores)))
    cfg.default_hooks.checkpoint.save_best = 'zero_shot/top'

    def watch(source, target):
        counts.append((Path(target).name, len(list(tmp_path.glob('best_*.pth')))))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', watch)
    Runner.from_cfg(cfg).train()
    best = [count for name, count in counts if name.startswith('best_')]
    assert best == [0, 1, 1], 'the last best one is still there when the next is renamed'
    assert [path.name for path in tmp_path.glob('best_*.pth')] == ['best_zero_shot_top_epoch_3.pth']


def test_unfinished_files_of_a_killed_training_are_removed(tmp_path):
    leftovers = [tmp_path / name for name in ('.epoch_1.host-0.part.pth', '.last_checkpoint.host-1.part')]
    mine = tmp_path / '.notes.part'
    for path in (*leftovers, mine):
        path.write_text('x')
    Runner.from_cfg(config(tmp_path, epochs=1)).train()
    assert not any(path.exists() for path in leftovers) and mine.exists()


HOLD = '''
import sys
from opendlign_mm.engine import work_dir_lock
with work_dir_lock(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.readline()
'''


@pytest.fixture
def holder(tmp_path):
    """Another process that trains, as far as the lock can tell."""
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY))
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path / 'run')], text=True, env=environment,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.communicate()


def test_two_trainings_in_one_work_directory_notice_each_other(holder, tools, capfd):
    work_dir = tools.folder / 'run'
    with pytest.raises(SystemExit):
        tools.run('train', CONFIG, '--work-dir', str(work_dir))
    errors = capfd.readouterr().err
    assert f'{work_dir} is the work directory of a running training' in errors
    assert f'process {holder.pid}, since 20' in errors and 'another --work-dir' in errors and 'Traceback' not in errors
    assert [path.name for path in work_dir.iterdir()] == [LOCK_NAME], 'nothing is written to it'
    # A Runner that a program builds notices it, too.
    with pytest.raises(RuntimeError, match=f'process {holder.pid}'):
        Runner.from_cfg(config(work_dir)).train()
    # A test may look at the checkpoints of a running training.
    tools.run('test', CONFIG, '--work-dir', str(work_dir))
    holder.kill()
    holder.wait()
    tools.run('train', CONFIG, '--work-dir', str(work_dir), options=['train_cfg.max_epochs=1'])
    assert (work_dir / 'epoch_1.pth').is_file(), 'the lock of a killed process is gone'


def test_the_same_process_may_train_again_but_no_other(tmp_path):
    """Also where a child process, such as a data worker, has come and gone."""
    with work_dir_lock(tmp_path):
        with work_dir_lock(tmp_path):
            assert f'process {os.getpid()}' in (tmp_path / LOCK_NAME).read_text()
            child = multiprocessing.get_context('fork').Process(target=print)
            child.start()
            child.join()
        Runner.from_cfg(config(tmp_path, epochs=1)).train()
        held = subprocess.run([sys.executable, '-c', HOLD, str(tmp_path)], text=True, capture_output=True, input='\n',
                              env=dict(os.environ, PYTHONPATH=str(REPOSITORY)))
        assert f'RuntimeError: {tmp_path} is the work directory of a running training' in held.stderr
    held = subprocess.run([sys.executable, '-c', HOLD, str(tmp_path)], text=True, capture_output=True, input='\n',
                          env=dict(os.environ, PYTHONPATH=str(REPOSITORY)))
    assert held.stdout == 'held\n' and held.returncode == 0


def test_a_data_worker_that_outlives_a_killed_training_does_not_keep_its_lock(tmp_path):
    code = ('import multiprocessing, os, sys, time\n'
            'from opendlign_mm.engine import work_dir_lock\n'
            'with work_dir_lock(sys.argv[1]):\n'
            '    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60, ))\n'
            '    worker.start()\n'
            '    print(worker.pid, flush=True)\n'
            '    sys.stdin.readline()\n')
    process = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=str(REPOSITORY)))
    worker = int(process.stdout.readline())
    try:
        with pytest.raises(RuntimeError, match=f'process {process.pid}'), work_dir_lock(tmp_path):
            pass
        process.kill()
        process.wait()
        os.kill(worker, 0)  # it lives
        with work_dir_lock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        process.communicate()
