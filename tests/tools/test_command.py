"""The command ``opendlign``: exit codes, output for programs, and messages for people."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from pyarrow import parquet

from helpers.tool_modules import REPOSITORY
from opendlign_mm.apis import ShapeInferencer
from opendlign_mm.command_line import results
from opendlign_mm.command_line.main import COMMANDS, main
from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.models.checkpoints import read_checkpoint


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('OPENDLIGN_CACHE', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('command', COMMANDS)
def test_each_command_has_a_help_with_an_example(command, capsys):
    assert main([command, '--help']) == 0
    text = capsys.readouterr().out
    assert f'opendlign {command}' in text.partition('options:')[0].partition('\n\n')[2]


@pytest.mark.parametrize('arguments', [
    ['bogus'], ['classify'], ['models', '--bogus'], ['detect', 'a.ply', '--up', 'x']])
def test_wrong_usage_is_2(arguments, capsys):
    assert main(arguments) == 2
    assert 'usage: opendlign' in capsys.readouterr().err


@pytest.mark.parametrize(('classes', 'message'), [
    ('chair,,table', 'class name 2 of 3 is empty'), ('chair,Chair', 'same class'), ('none.txt', 'no file of classes')])
@pytest.mark.parametrize('command', ['classify', 'detect'])
def test_words_that_cannot_be_used_are_refused_before_a_model_is_built(command, classes, message, capsys):
    assert main([command, 'any.ply', '--classes', classes]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and 'model: ' not in captured.err


def test_no_arguments_print_the_help(capsys):
    assert main([]) == 0
    assert 'COMMAND' in capsys.readouterr().out


def test_models_in_a_pipe_are_separated_by_tabs(capsys):
    assert main(['models']) == 0
    rows = [line.split('\t') for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ['name', 'here', 'size'] and rows[1][:2] == ['opendlign-tiny', 'yes']
    assert {len(row) for row in rows} == {6}


def test_models_as_json_have_the_published_results(capsys):
    assert main(['models', '--json']) == 0
    models = {model['name']: model for model in json.loads(capsys.readouterr().out)}
    assert models['3detr-m-sunrgbd']['results'] == {'SUN RGB-D': {'AP25': 59.1, 'AP50': 30.3}}


def test_an_unknown_name_is_wrong_usage_and_a_failed_download_is_1(capsys, monkeypatch):
    assert main(['download', 'opendlign-b61']) == 2
    assert "did you mean 'opendlign-b16'" in capsys.readouterr().err
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    assert main(['download', '3detr-m-scannet', 'opendlign-tiny']) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith('opendlign-tiny\t') and 'HF_HUB_OFFLINE is set' in captured.err


def test_convert_keeps_the_trained_part_of_a_training_without_its_optimizer(tmp_path):
    contents = read_checkpoint(packaged_weights())
    torch.save(dict(contents, optimizer=dict(state={})), tmp_path / 'epoch_1.pth')
    assert main(['convert', 'epoch_1.pth', 'out.safetensors', '--model', 'opendlign-tiny']) == 0
    written = read_checkpoint(tmp_path / 'out.safetensors')
    assert set(written) == {'meta', 'state_dict'} and set(written['state_dict']) == set(contents['state_dict'])
    assert all(torch.equal(value, contents['state_dict'][key]) for key, value in written['state_dict'].items())
    assert written['meta']['source'] == 'epoch_1.pth'


def test_convert_goes_to_the_release_and_back(tmp_path):
    assert main(['convert', str(packaged_weights()), 'released.pt', '--model', 'opendlign-tiny', '--to-release']) == 0
    assert 'model_state_dict' in read_checkpoint(tmp_path / 'released.pt')
    assert main(['convert', 'released.pt', 'again.safetensors', '--model', 'opendlign-tiny', '--trained-only']) == 0
    key = 'backbone.tuned_blocks.0.attn.in_proj_weight'
    again, first = (read_checkpoint(path)['state_dict'][key] for path in ('again.safetensors', packaged_weights()))
    assert torch.equal(again, first)


def packaged_weights():
    from opendlign_mm.apis import resolve_model
    return resolve_model('opendlign-tiny')[1]


def test_convert_tells_what_is_missing(tmp_path, capsys):
    assert main(['convert', 'none.pth', 'out.safetensors', '--model', 'opendlign-tiny']) == 2
    assert 'checkpoint none.pth does not exist' in capsys.readouterr().err
    assert not list(tmp_path.glob('*.safetensors'))


def test_results_are_plain_json_with_arrays_as_lists(capsys):
    results.print_json([dict(input='Stühle.ply', views=np.eye(2, dtype=np.uint8))])
    assert json.loads(capsys.readouterr().out) == [dict(input='Stühle.ply', views=[[1, 0], [0, 1]])]


def test_failed_inputs_are_listed_and_make_the_exit_code_1(capsys):
    assert results.report_failures([dict(input='a', labels=[])]) == 0
    assert results.report_failures([dict(input='a', labels=[]), dict(input='b.ply', error='it is empty')]) == 1
    error = capsys.readouterr().err
    assert 'failed: b.ply: it is empty' in error and '1 of 2 inputs failed' in error


def test_a_table_on_a_terminal_shows_every_cell_as_it_is(capsys, monkeypatch):
    monkeypatch.setattr('sys.stdout.isatty', lambda: True, raising=False)
    results.print_table(['file', 'label'], [('a[1].ply', 'chair')])
    assert 'a[1].ply' in capsys.readouterr().out


def test_doctor_reports_versions_and_a_missing_package_fails_it(capsys, monkeypatch):
    assert main(['doctor', '--no-test', '--json']) == 0
    checks = {check['what']: check for check in json.loads(capsys.readouterr().out)}
    assert checks['torch']['found'] == torch.__version__.partition('+')[0] and checks["mmcv's operators"]['is_good']
    monkeypatch.setattr('opendlign_mm.command_line.commands.doctor.REQUIRED', ('no-such-package', ))
    assert main(['doctor', '--no-test']) == 1
    assert 'no-such-package\tnot installed\tFAILED' in capsys.readouterr().out


# ---------------------------------------------------------------- vectors and search
@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """A folder of three shapes and a broken one, its vectors and its index."""
    pytest.importorskip('faiss')
    folder = tmp_path_factory.mktemp('shapes')
    for name in ('chairs/chair', 'lamp', 'table'):
        path = folder / f'shapes/{name}.xyz'
        path.parent.mkdir(parents=True, exist_ok=True)
        points = sample_shape(path.stem, np.random.default_rng(1), 3000).points
        np.savetxt(path, points, fmt='%.4f')
    (folder / 'shapes/bad.ply').write_text('x')
    assert main(['embed', str(folder / 'shapes'), '--out', str(folder / 'vectors.npy')]) == 1
    assert main(['index', str(folder / 'shapes'), '--out', str(folder / 'index')]) == 1
    return folder


def test_embed_writes_a_row_for_each_file_and_nan_for_a_broken_one(shapes):
    names = json.loads((shapes / 'vectors.json').read_text())
    vectors = np.load(shapes / 'vectors.npy')
    assert [path['input'].rpartition('/')[2] for path in names] == ['bad.ply', 'chair.xyz', 'lamp.xyz', 'table.xyz']
    assert names[0]['error'] and np.isnan(vectors[0]).all() and not any(name['error'] for name in names[1:])
    expected = ShapeInferencer(show_progress=False)(str(shapes / 'shapes/lamp.xyz'), embed=True)['predictions'][0]
    np.testing.assert_allclose(vectors[2], expected['embedding'], atol=1e-5)
    assert sorted(path.name for path in shapes.iterdir()) == ['index', 'shapes', 'vectors.json', 'vectors.npy']


def test_embed_into_a_folder_goes_on_where_it_was(shapes, tmp_path, capsys):
    for _ in range(2):
        assert main(['embed', str(shapes / 'shapes/*.xyz'), '--out', str(tmp_path / 'parts')]) == 0
        table = parquet.read_table(tmp_path / 'parts')
        assert table.column('index').to_pylist() == [0, 1]
        np.testing.assert_allclose(np.array(table.column('embedding').to_pylist()), np.load(
            shapes / 'vectors.npy')[2:], atol=1e-5)
        times = {path: path.stat().st_mtime_ns for path in (tmp_path / 'parts').glob('*.parquet')}
    assert '2 vectors' in capsys.readouterr().err and len(times) == 1


def test_two_processes_classify_into_the_same_rows_as_one(shapes, tmp_path):
    assert main(['classify', str(shapes / 'shapes'), '--classes', 'chair,lamp,table', '--parquet',
                 str(tmp_path / 'one')]) == 1
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--standalone', '-m',
         'opendlign_mm', 'classify', shapes / 'shapes', '--classes', 'chair,lamp,table', '--parquet', tmp_path / 'two'],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
        env=dict(os.environ, PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS='1'))
    assert 'labels of 3 files' in done.stderr, done.stderr
    one, two = (parquet.read_table(tmp_path / name).to_pylist() for name in ('one', 'two'))
    assert [row['labels'] and row['labels'][0] for row in one] == [None, 'chair', 'lamp', 'table']
    assert [(row['input'], row['labels']) for row in one] == [(row['input'], row['labels']) for row in two]


def test_search_finds_by_words_and_says_how(shapes, capsys):
    assert main(['search', str(shapes / 'index'), 'a chair', '--top', '2']) == 0
    captured = capsys.readouterr()
    rows = [line.split('\t') for line in captured.out.splitlines()]
    assert rows[0] == ['rank', 'cosine', 'category', 'file'] and len(rows) == 3
    assert rows[1][2] == 'chairs' and rows[1][3].endswith('chairs/chair.xyz')
    assert 'exact search among 3 shapes' in captured.err


def test_a_shape_finds_itself_and_a_picture_is_drawn(shapes, tmp_path, capsys):
    assert main(['search', str(shapes / 'index'), str(shapes / 'shapes/lamp.xyz'), '--json', '--out',
                 str(tmp_path / 'found.png')]) == 0
    best = json.loads(capsys.readouterr().out)[0]
    assert best['points_path'].endswith('lamp.xyz') and best['cosine'] == pytest.approx(1, abs=1e-4)
    assert main(['search', str(shapes / 'index'), str(tmp_path / 'found.png'), 'a lamp', '--top', '1']) == 0


@pytest.mark.parametrize(('arguments', 'message'), [
    (['search', 'none', 'a chair'], 'none'),
    (['search', '{index}', 'none.obj'], 'there is no file none.obj'),
    (['search', '{index}', '  '], 'text of the query is empty'),
    (['search', '{index}', 'a chair', '--top', '0'], 'top must be'),
    (['index', '{empty}', '--out', 'new'], 'has no file of a shape'),
    (['index', '{shapes}', '--out', '{index}'], 'index'),
    (['embed', 'nothing/*.ply', '--out', 'new'], 'nothing'),
])
def test_what_cannot_be_embedded_or_searched_is_wrong_usage(shapes, tmp_path, arguments, message, capsys):
    (tmp_path / 'empty').mkdir()
    names = dict(index=shapes / 'index', empty=tmp_path / 'empty', shapes=shapes / 'shapes')
    assert main([argument.format(**names) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and not captured.out and not (tmp_path / 'new').exists()
