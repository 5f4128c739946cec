"""Training the demonstration CLIP: interrupted and resumed, begun with other weights, and what is refused."""
import json
import sys

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from helpers.tool_modules import load_tool
from opendlign_mm.engine.clip_training import PatchDropout, clip_loss

SMALL = dict(embed_dim=16, vision_cfg=dict(image_size=32, patch_size=16, width=32, layers=1, head_width=16),
             text_cfg=dict(context_length=16, vocab_size=49408, width=16, heads=2, layers=1))


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    """The depth views are made once for all tests."""
    return tmp_path_factory.mktemp('clip')


@pytest.fixture(autouse=True)
def keep_denormal_numbers():
    """The tool flushes them in its process, which here is that of other tests, too."""
    yield
    torch.set_flush_denormal(False)


def train(monkeypatch, work_dir, out, *options):
    tool = load_tool('analysis_tools/train_tiny_clip')
    monkeypatch.setattr(tool, 'CONFIG', SMALL)
    monkeypatch.setattr(sys, 'argv', [
        'train_tiny_clip.py', '--work-dir', str(work_dir), '--out', str(out), '--objects', '1', '--views', '1',
        '--val-objects', '1', '--test-objects', '1', '--epochs', '3', '--batch-size', '8', '--workers', '0', '--device',
        'cpu', *options])
    return tool


@pytest.mark.parametrize('options', [(), ('--draw', 'batch', '--average', '.9', '--deformed', '.5')])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(monkeypatch, work_dir, tmp_path, options):
    state = work_dir / 'state.pth'
    state.unlink(missing_ok=True)
    train(monkeypatch, work_dir, tmp_path / 'whole.safetensors', *options).main()
    state.unlink()
    tool = train(monkeypatch, work_dir, tmp_path / 'resumed.safetensors', *options)
    save = tool.CLIPTraining.save

    def save_and_stop(self, path, **more):
        save(self, path, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(tool.CLIPTraining, 'save', save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        tool.main()
    tool.CLIPTraining.save = save
    train(monkeypatch, work_dir, tmp_path / 'early.safetensors', *options, '--finish').main()
    assert len(json.loads((tmp_path / 'early.log.json').read_text())['epochs']) == 1
    train(monkeypatch, work_dir, tmp_path / 'resumed.safetensors', *options)
    tool.main()
    train(monkeypatch, work_dir, tmp_path / 'finished.safetensors', *options, '--finish').main()
    whole, resumed, finished, early = (load_file(tmp_path / f'{name}.safetensors')
                                       for name in ('whole', 'resumed', 'finished', 'early'))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert all(torch.equal(whole[key], finished[key]) for key in whole)
    assert not all(torch.equal(whole[key], early[key]) for key in whole)
    log = json.loads((tmp_path / 'resumed.log.json').read_text())
    assert len(log['epochs']) == 3 and log['unseen_objects'] == 16 and '--objects 1' in log['command']


def test_a_state_of_other_options_is_refused(monkeypatch, work_dir, tmp_path):
    torch.save(dict(options=dict(lr=.5)), work_dir / 'state.pth')
    with pytest.raises(SystemExit, match='--lr 0.5'):
        train(monkeypatch, work_dir, tmp_path / 'clip.safetensors').main()
    (work_dir / 'state.pth').unlink()


def test_a_run_that_begins_with_weights_keeps_the_vectors_of_their_words(monkeypatch, work_dir, tmp_path):
    (work_dir / 'state.pth').unlink(missing_ok=True)
    train(monkeypatch, work_dir, tmp_path / 'first.safetensors', '--epochs', '1').main()
    (work_dir / 'state.pth').unlink()
    tool = train(monkeypatch, work_dir, tmp_path / 'second.safetensors', '--epochs', '1', '--edition', '2', '--init',
                 str(tmp_path / 'first.safetensors'), '--patch-dropout', '.5', '--depth-weight', '0', '--seed', '9')
    tool.main()
    first, second = (load_file(tmp_path / f'{name}.safetensors') for name in ('first', 'second'))
    rows = {int(row): vector for row, vector in zip(second['token_embedding_rows'], second['token_embedding.weight'],
                                                    strict=True)}
    for row, vector in zip(first['token_embedding_rows'], first['token_embedding.weight'], strict=True):
        assert torch.equal(rows[int(row)], vector)
    new = [vector for row, vector in rows.items() if row not in first['token_embedding_rows']]
    assert new and all(vector.abs().sum() > 0 for vector in new)
    (work_dir / 'state.pth').unlink()


@pytest.mark.parametrize('options, words', [
    (['--libraries', 'BlendSwap-CC-0'], 'are for evaluation'), (['--patch-dropout', '.4'], 'give --depth-weight 0'),
    (['--models', 'anywhere'], 'give --edition 2'), (['--average', '1'], '--average must lie in'),
    (['--patch-dropout', '1', '--depth-weight', '0'], 'must lie in')])
def test_options_that_do_not_go_together_are_refused(monkeypatch, work_dir, tmp_path, capsys, options, words):
    with pytest.raises(SystemExit):
        train(monkeypatch, work_dir, tmp_path / 'clip.safetensors', *options).main()
    assert words in capsys.readouterr().err


def test_finishing_needs_a_state(monkeypatch, work_dir, tmp_path):
    (work_dir / 'state.pth').unlink(missing_ok=True)
    with pytest.raises(SystemExit, match='--finish needs the state of a run'):
        train(monkeypatch, work_dir, tmp_path / 'clip.safetensors', '--finish').main()


def test_patches_are_left_out_at_random_and_in_training_only():
    dropout, tokens = PatchDropout(.5), torch.arange(9.).view(1, 9, 1).expand(40, -1, 2)
    kept = dropout(tokens)
    assert kept.shape == (40, 5, 2) and (kept[:, 0] == 0).all()
    assert all(len(set(row)) == 5 for row in kept[..., 0].tolist()) and set(kept.flatten().tolist()) == set(range(9))
    torch.manual_seed(3)
    mine = dropout(tokens)
    torch.manual_seed(3)
    assert torch.equal(mine, open_clip.transformer.PatchDropout(.5)(tokens))
    assert dropout.eval()(tokens) is tokens


def test_the_loss_is_that_of_softmax_both_ways_with_several_images_of_a_caption():
    images, text = torch.randn(5, 4), torch.randn(3, 4)
    labels, scale = torch.tensor([0, 2, 0, 0, 2]), torch.tensor(7.)
    x, y = (v.double().numpy() / np.linalg.norm(v.double().numpy(), axis=1, keepdims=True) for v in (images, text))
    logits = 7 * x @ y.T
    to_text = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    forward = -np.mean([.9 * row[k] + .1 * row.mean() for row, k in zip(to_text, labels.tolist(), strict=True)])
    to_images = logits - np.log(np.exp(logits).sum(0, keepdims=True))
    backward = -np.mean([to_images[[0, 2, 3], 0].mean(), to_images[[1, 4], 2].mean()])
    assert clip_loss(images, text, labels, scale).item() == pytest.approx((forward + backward) / 2, rel=1e-5)


def test_other_files_are_no_weights_to_begin_with(monkeypatch, work_dir, tmp_path):
    with pytest.raises(SystemExit, match='is not a file of weights that this command has written'):
        train(monkeypatch, work_dir, tmp_path / 'clip.safetensors', '--init', str(tmp_path / 'none')).main()
