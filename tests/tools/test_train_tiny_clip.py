"""Training the demonstration CLIP: interrupted and resumed, begun with other weights, and what is refused."""
import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from helpers.tool_modules import load_tool

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


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(monkeypatch, work_dir, tmp_path):
    state = work_dir / 'state.pth'
    state.unlink(missing_ok=True)
    train(monkeypatch, work_dir, tmp_path / 'whole.safetensors').main()
    state.unlink()
    tool = train(monkeypatch, work_dir, tmp_path / 'resumed.safetensors')
    save = tool.Training.save

    def save_and_stop(self, path):
        save(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(tool.Training, 'save', save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        tool.main()
    tool.Training.save = save
    tool.main()
    whole, resumed = (load_file(tmp_path / f'{name}.safetensors') for name in ('whole', 'resumed'))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)
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
    (['--models', 'anywhere'], 'give --edition 2'), (['--patch-dropout', '1', '--depth-weight', '0'], 'must lie in')])
def test_options_that_do_not_go_together_are_refused(monkeypatch, work_dir, tmp_path, capsys, options, words):
    with pytest.raises(SystemExit):
        train(monkeypatch, work_dir, tmp_path / 'clip.safetensors', *options).main()
    assert words in capsys.readouterr().err


def test_other_files_are_no_weights_to_begin_with(monkeypatch, work_dir, tmp_path):
    with pytest.raises(SystemExit, match='is not a file of weights that this command has written'):
        train(monkeypatch, work_dir, tmp_path / 'clip.safetensors', '--init', str(tmp_path / 'none')).main()
