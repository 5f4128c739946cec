"""Trainings killed at any moment resume and end with the weights of an uninterrupted one, bit for bit.

OPENDLIGN_KILLS sets the number of kills at random moments:

    OPENDLIGN_KILLS=200 tools/run_tests.sh tests/tools/test_killed_training.py
"""
import os
import random
import time
from pathlib import Path

import pytest
import torch

from helpers.training_workers import EPOCHS, Training
from opendlign_mm.models.checkpoints import read_checkpoint

RANDOM_KILLS = int(os.environ.get('OPENDLIGN_KILLS', 16))


@pytest.fixture(scope='module', params=[0])
def whole(request, tmp_path_factory) -> dict:
    """What an uninterrupted training leaves, its data workers, and the seconds from its first iteration to its end."""
    work_dir = tmp_path_factory.mktemp('whole')
    training = Training(work_dir, workers=request.param)
    training.wait_for_first_iteration()
    begin = time.monotonic()
    assert training.join() == 0
    return dict(state(work_dir), workers=request.param, seconds=time.monotonic() - begin)


def state(work_dir: Path) -> dict:
    """Everything of the last checkpoint that later training depends on."""
    contents = read_checkpoint(work_dir / f'epoch_{EPOCHS}.pth')
    return {key: contents[key] for key in ('state_dict', 'optimizer', 'param_schedulers')}


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def check_files(work_dir: Path) -> None:
    """Each checkpoint is complete, and last_checkpoint names one of them."""
    checkpoints = list(work_dir.glob('epoch_*.pth'))
    for path in checkpoints:
        assert read_checkpoint(path)['meta']['epoch'] == int(path.stem[len('epoch_'):])
    last = work_dir / 'last_checkpoint'
    assert not last.exists() or Path(last.read_text()) in checkpoints
    assert len(checkpoints) <= 3, 'two are kept, and one more while a new one is written'


def finish(work_dir: Path, whole: dict) -> None:
    assert Training(work_dir, workers=whole['workers']).join() == 0
    check_files(work_dir)
    assert not list(work_dir.glob('.*.part*')), 'unfinished files of killed trainings are removed'
    found = state(work_dir)
    assert all(same(found[key], whole[key]) for key in found)


@pytest.mark.slow
@pytest.mark.parametrize('kills', [dict(writing=number) for number in range(EPOCHS)]
                         + [dict(renaming=number) for number in range(2 * EPOCHS + 2)],
                         ids=lambda kill: '-'.join(f'{key}-{value}' for key, value in kill.items()))
def test_killed_while_a_checkpoint_is_written(kills, whole, tmp_path):
    """In the middle of the file, before and after it gets its name, and the same of last_checkpoint."""
    training = Training(tmp_path, **kills)
    assert training.join() == -9
    check_files(tmp_path)
    finish(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(max(1, RANDOM_KILLS // 8)))
@pytest.mark.parametrize('whole', [0, 1], indirect=True, ids=['no data worker', 'one data worker'])
def test_killed_at_random_moments(seed, whole, tmp_path):
    """Four times in a row, resumed at once each time."""
    rng = random.Random(seed)
    for _ in range(4):
        training = Training(tmp_path, workers=whole['workers'])
        training.wait_for_first_iteration()
        time.sleep(rng.uniform(0, whole['seconds']))
        training.kill()
        check_files(tmp_path)
    finish(tmp_path, whole)


@pytest.mark.slow
def test_killed_before_the_first_iteration(whole, tmp_path):
    for delay in (.05, .2, .5):
        training = Training(tmp_path)
        time.sleep(delay)
        training.kill()
    finish(tmp_path, whole)
