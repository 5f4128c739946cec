"""tools/benchmark.py and tools/check_gpu.py run on small sizes; no time is checked."""
import json
from pathlib import Path

import pytest
import torch

from helpers import tiny_inferencers
from helpers.tiny_three_detr import TINY
from helpers.tool_modules import load_tool, run_tool
from opendlign_mm.benchmarks import Row, detect, gpu_checks


@pytest.fixture
def small_scenes(monkeypatch):
    """A room of four blocks, a random CLIP in the place of the packaged one, and a small 3DETR."""
    for module in (detect, gpu_checks):
        monkeypatch.setattr(module, 'room', lambda points: tiny_inferencers.room()[:, :3])
        monkeypatch.setattr(module, 'THREE_DETR', TINY)
        monkeypatch.setattr(module, 'SceneInferencer', lambda device, show_progress, **options:
                            tiny_inferencers.scene_inferencer(**options))


@pytest.mark.parametrize('suites', [('projection', 'encode', 'align'), ('search', 'generate')])
def test_suites_give_rows_and_curves(suites, tmp_path):
    out = tmp_path / 'found.json'
    done = run_tool('benchmark', '--quick', '--curves', '--device', 'cpu', '--out', out, '--suite', *suites)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert {row['suite'] for row in found['rows']} == set(suites)
    assert all(row['seconds'] > 0 for row in found['rows'])
    assert {curve['suite'] for curve in found['curves']} == set(suites) - {'generate'}
    assert all(len(curve['sizes']) == len(curve['seconds']) for curve in found['curves'])
    assert out.with_suffix('.png').is_file() and found['machine']['versions']['torch'] == torch.__version__
    if 'encode' in suites:
        row = next(row for row in found['rows'] if row['suite'] == 'encode')
        assert row['ratio'] == pytest.approx(row['other_seconds'] / row['seconds']), 'of a single pair'
        assert row['facts']['least_cosine'] > .999
        (packaged, ) = (row for row in found['rows'] if 'packaged model' in row['what'])
        assert packaged['facts']['share_of_same_classes'] >= 15 / 16 and packaged['facts']['least_cosine'] > .999


def test_the_suite_of_scenes_detects_the_same_boxes_from_stored_features(small_scenes, tmp_path):
    done = run_tool('benchmark', '--quick', '--device', 'cpu', '--out', tmp_path / 'a.json', '--suite', 'detect')
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / 'a.json').read_text())['rows']
    assert [row['unit'] for row in rows] == ['scene'] * 3 + ['dataset', 'scene'] and rows[0]['facts']['boxes'] > 0
    given = rows[2]
    assert given['facts']['views'] == 3 * 2 and given['other'] == 'the encoder alone'
    assert given['facts']['views_per_second'] == pytest.approx(6 / given['seconds'])


def test_a_row_is_kept_if_the_next_one_fails(tmp_path, monkeypatch):
    def rows(suite, settings):
        yield Row(suite, 'the first', .5, 'object')
        raise RuntimeError('out of memory')

    monkeypatch.setattr('opendlign_mm.benchmarks.rows_of', rows)
    out = tmp_path / 'a.json'
    with pytest.raises(RuntimeError, match='out of memory'):
        run_tool('benchmark', '--quick', '--device', 'cpu', '--out', out, '--suite', 'search')
    assert [(row['what'], row['seconds']) for row in json.loads(out.read_text())['rows']] == [('the first', .5)]


def test_a_suite_that_measures_nothing_here_still_leaves_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr('opendlign_mm.benchmarks.rows_of', lambda suite, settings: iter(()))
    done = run_tool('benchmark', '--quick', '--device', 'cpu', '--out', tmp_path / 'a.json', '--suite', 'diffusion')
    assert done.returncode == 0 and json.loads((tmp_path / 'a.json').read_text())['rows'] == []


@pytest.mark.parametrize(('options', 'message'), [
    (['--pairs', 2], 'pairs must be at least 5'), (['--device', 'gpu'], "'gpu' is not a device"),
    (['--threads', 0], '--threads must be at least 1'), (['--against', 'absent'], 'absent, given by --against')])
def test_what_cannot_be_measured_is_one_message(options, message):
    done = run_tool('benchmark', *options)
    assert done.returncode == 2 and message in done.stderr and 'Traceback' not in done.stderr


def test_a_dry_run_of_the_gpu_checks_passes_on_the_cpu(small_scenes, tmp_path):
    done = run_tool('check_gpu', '--device', 'cpu', '--quick', '--out', tmp_path / 'gpu.json', '--only',
                    *gpu_checks.CHECKS)
    assert done.returncode == 0, done.stdout
    parts = json.loads((tmp_path / 'gpu.json').read_text())['parts']
    assert set(parts) == set(gpu_checks.CHECKS) and all(part['passed'] for part in parts.values())
    assert parts['branches']['differences']['fp32'] < 1e-5 and '3DETR' in (tmp_path / 'gpu.log').read_text()


@pytest.mark.parametrize('name', ['point operations', 'branches'])
def test_a_device_that_computes_something_else_fails_the_check(name, monkeypatch):
    """What is brought to the device arrives in another order."""
    original = torch.Tensor.to

    def to(self, *arguments, **options):
        there = original(self, *arguments, **options)
        return there.flip(0) if there.is_floating_point() and there.ndim > 1 else there

    monkeypatch.setattr(torch.Tensor, 'to', to)
    with pytest.raises(gpu_checks.CheckError, match='at most .* expected'):
        gpu_checks.CHECKS[name](torch.device('cpu'))


def test_other_weights_fail_the_check_of_a_training_step(monkeypatch):
    first, second = gpu_checks._pair(torch.device('cpu'))
    with torch.no_grad():
        next(value for value in first.parameters() if value.requires_grad).mul_(1.5)
    monkeypatch.setattr(gpu_checks, '_pair', lambda device: (first, second))
    with pytest.raises(gpu_checks.CheckError, match='gradients is .*, at most 0.01 expected'):
        gpu_checks.check_training_step(torch.device('cpu'))


def test_a_difference_that_is_no_number_is_no_agreement():
    assert gpu_checks._at_most(dict(mean=.1, other=9.), mean=.1) == dict(mean=.1, other=9.)
    for value in (.2, float('nan')):
        with pytest.raises(gpu_checks.CheckError, match='mean is'):
            gpu_checks._at_most(dict(mean=value), mean=.1)


def test_the_checks_go_on_after_a_failure_and_their_end_is_told(tmp_path, monkeypatch):
    def broken(device):
        raise RuntimeError('no kernel image')

    monkeypatch.setitem(gpu_checks.CHECKS, 'projection', broken)
    done = run_tool('check_gpu', '--device', 'cpu', '--quick', '--out', tmp_path / 'gpu.json', '--only', 'projection',
                    'process group')
    assert done.returncode == 1 and '1 of 2 passed' in done.stdout
    parts = json.loads((tmp_path / 'gpu.json').read_text())['parts']
    assert 'no kernel image' in parts['projection']['error'] and parts['process group']['passed']
    done = run_tool('check_gpu', '--device', 'cpu', '--quick', '--out', tmp_path / 'gpu.json', '--minutes', 0,
                    '--only', 'branches')
    assert done.returncode == 1 and 'minutes are over' in (tmp_path / 'gpu.json').read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without CUDA')
def test_without_cuda_nothing_is_checked_and_the_exit_code_says_so(tmp_path):
    done = run_tool('check_gpu', '--out', tmp_path / 'gpu.json')
    assert done.returncode == 2 and 'no CUDA here' in done.stderr and not list(tmp_path.iterdir())


def test_a_part_in_a_process_of_its_own_is_logged_and_ended_in_time(tmp_path):
    run = load_tool('check_gpu').run
    log = tmp_path / 'a.log'
    assert run(['sh', '-c', 'echo found'], 10, log) == dict(passed=True)
    assert run(['sh', '-c', 'exit 3'], 10, log)['error'].startswith('exit code 3')
    assert run(['sleep', '20'], .1, log)['error'].startswith('ended after 0 s')
    assert 'found' in log.read_text()


def test_the_commands_of_a_user_follow_one_another_until_one_fails(tmp_path, monkeypatch):
    tool = load_tool('check_gpu')
    called = []

    def run(command, seconds, log, **variables):
        called.append((Path(command[1]).name, variables))
        assert all(Path(part).is_file() for part in command[1:] if part.endswith('.py'))
        return dict(passed=len(called) < 3, error='exit code 1')

    monkeypatch.setattr(tool, 'run', run)
    result = tool.commands(torch.device('cpu'), 60, tmp_path / 'a.log')
    assert not result['passed'] and 'make_rooms.py' in result['error'] and 'exit code 1' in result['error']
    assert [name for name, _ in called] == ['train.py', 'test.py', 'make_rooms.py']
    assert all(variables == dict(CUDA_VISIBLE_DEVICES='') for _, variables in called)  # one may be there
    called.clear()
    tool.commands(torch.device('cuda'), 60, tmp_path / 'a.log')
    assert called[0] == ('train.py', {})
