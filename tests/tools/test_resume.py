"""A run that is interrupted and resumed gives the same losses and weights as one that is not."""
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from helpers.tiny_runs import scalars, tiny_config
from opendlign_mm.engine.hooks import EpochSeedHook


def losses(work_dir: Path) -> dict:
    """(epoch, iteration) -> loss and learning rate."""
    return {step: (row['loss'], row['lr']) for step, row in scalars(work_dir).items()}


def trained_weights(checkpoint: Path) -> dict:
    return torch.load(checkpoint, weights_only=True)['state_dict']


def run(work_dir: Path, **changes) -> None:
    config = tiny_config(work_dir, epochs=3, workers=changes.pop('workers', 0))
    config.merge_from_dict(changes)
    config.experiment_name = str(work_dir)
    Runner.from_cfg(config).train()


@pytest.mark.parametrize('workers, seed', [(0, 3), (2, 3), (0, None)])
def test_resumed_run_equals_uninterrupted(tmp_path, workers, seed):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    run(whole, workers=workers, **{'randomness.seed': seed})
    expected = losses(whole)
    assert len(expected) == 9 and len(set(expected.values())) == 9

    # The second work directory starts from the first epoch's checkpoint only, with generators that stand elsewhere.
    torch.manual_seed(99)
    run(parts, workers=workers, resume=True, load_from=str(whole / 'epoch_1.pth'), **{'randomness.seed': seed})
    resumed = losses(parts)
    assert sorted(resumed) == [key for key in sorted(expected) if key[0] > 1]
    assert resumed == {key: expected[key] for key in resumed}
    first, second = (trained_weights(folder / 'epoch_3.pth') for folder in (whole, parts))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_without_the_hook_a_resumed_run_differs(tmp_path, monkeypatch):
    """The test above can fail: it is the hook that makes the runs equal."""
    monkeypatch.setattr(EpochSeedHook, 'before_train_epoch', lambda *_: None)
    run(tmp_path / 'whole')
    run(tmp_path / 'parts', resume=True, load_from=str(tmp_path / 'whole/epoch_1.pth'))
    resumed, expected = losses(tmp_path / 'parts'), losses(tmp_path / 'whole')
    assert any(resumed[key] != expected[key] for key in resumed)


def test_epochs_draw_different_augmentations(tmp_path):
    """Data workers start anew at each epoch; they must not repeat the first epoch's random numbers."""
    config = tiny_config(tmp_path, workers=2)
    runner = Runner.from_cfg(config)
    runner.train_loop  # builds the loader
    drawn = []
    for epoch in (0, 1):
        runner.train_loop._epoch = epoch
        EpochSeedHook().before_train_epoch(runner)
        batch = next(iter(runner.train_dataloader))
        samples = zip(batch['data_samples'], batch['inputs']['depth_views'])
        drawn.append({sample.sample_id: views for sample, views in samples})
    common = set(drawn[0]) & set(drawn[1])
    assert common and all(not torch.equal(drawn[0][name], drawn[1][name]) for name in common)


def test_persistent_workers_are_warned_of(tmp_path, caplog):
    config = tiny_config(tmp_path, workers=1)
    config.train_dataloader.persistent_workers = True
    runner = Runner.from_cfg(config)
    messages = []
    runner.logger.warning = messages.append
    EpochSeedHook().before_train(runner)
    assert any('persistent_workers' in message for message in messages)
