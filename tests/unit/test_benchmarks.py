"""The arithmetic of benchmarks: medians, ratios, shares of a limit, counted operations; nothing is timed."""
import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from PIL import Image

from opendlign_mm.benchmarks import Curve, Row, Settings, limits, measuring
from opendlign_mm.benchmarks.align import Step
from opendlign_mm.benchmarks.machine import describe_machine
from opendlign_mm.benchmarks.models import random_model, random_views
from opendlign_mm.benchmarks.parts_of_block import parts_of_block
from opendlign_mm.benchmarks.released import ReleasedAlignment, released_scores
from opendlign_mm.benchmarks.report import as_json, draw_curves, table, time_text
from opendlign_mm.models.contrastive_head import object_features

CPU = torch.device('cpu')


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what the measured calls add to it."""
    clock = SimpleNamespace(now=0.)
    monkeypatch.setattr(measuring.time, 'perf_counter', lambda: clock.now)
    return clock


def test_two_computations_alternate_and_medians_count(clock):
    calls, times = [], dict(ours=iter([9, 1, 2, 3, 4, 50]), other=iter([9, 10, 20, 60, 40, 500]))

    def computation(name):
        def call():
            calls.append(name)
            clock.now += next(times[name])
        return call

    ours, other, ratio = measuring.compare(computation('ours'), computation('other'), Settings(CPU))
    assert calls == ['ours', 'other'] * 6, 'a pair that is not counted, then five'
    assert (ours, other) == (3, 40)
    assert ratio == np.median([10, 10, 20, 10, 10]), 'the median of the ratios, not the ratio of the medians'


def test_a_growth_curve_has_the_median_of_each_size(clock):
    def prepare(size):
        seconds = iter([99, *(size * factor for factor in (1, 5, 2, 3, 4))])

        def call():
            clock.now += next(seconds)
        return call

    curve = measuring.grow('encode', 'scores', 'classes', (10, 20), prepare, Settings(CPU))
    assert curve == Curve('encode', 'scores', 'classes', (10, 20), (30, 60))


def test_settings_that_measure_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match='pairs must be at least 5'):
        Settings(CPU, pairs=4)
    with pytest.raises(ValueError, match='shapes must be at least 10'):
        Settings(CPU, shapes=3)
    with pytest.raises(FileNotFoundError, match='absent, given by --against, is not a folder'):
        Settings(CPU, against=tmp_path / 'absent')
    with pytest.raises(ValueError, match="'gpu' is not a device; use cpu, cuda"):
        measuring.named_device('gpu')
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='no device cuda: PyTorch finds no CUDA'):
            Settings(torch.device('cuda'))
    assert (Settings(CPU).repeats, Settings(CPU, pairs=7).repeats, Settings(CPU, quick=True).repeats) == (5, 7, 1)


def test_the_limit_is_the_longer_of_computing_and_moving(monkeypatch):
    monkeypatch.setattr(limits, 'matmul_rate', lambda device, dtype, quick: dict(float32=1e9, bfloat16=4e9)[
        str(dtype).removeprefix('torch.')])
    monkeypatch.setattr(limits, 'copy_bandwidth', lambda device, quick: 1e6)
    assert limits.least_seconds(CPU, torch.float32, operations=2e9, bytes_moved=1e6) == 2
    assert limits.least_seconds(CPU, torch.bfloat16, operations=2e9, bytes_moved=1e6) == 1
    assert Row('encode', 'x', 8., 'object', limit_seconds=2.).share_of_limit == .25
    assert Row('encode', 'x', 8., 'object').share_of_limit is None


def test_the_rate_is_twice_the_products_over_the_fastest_time(monkeypatch):
    times = iter([99., .5, .25, .5, .5, .5, .5])
    monkeypatch.setattr(limits, 'seconds_of', lambda call, device: next(times))
    assert limits._product_rate(CPU, torch.float32, (10, 20, 30)) == 2 * 10 * 20 * 30 / .25
    times = iter([99., .5, .25, .5, .5, .5, .5])
    assert limits.copy_bandwidth.__wrapped__(CPU, quick=True) == 2 * 65536 / .25


def test_operations_of_a_block_are_counted_with_its_attention():
    """By hand: N = 2 sequences of L = 5 tokens, width D = 8, MLP 4 D; a product-sum counts twice."""
    block, tokens = ResidualAttentionBlock(8, 2).eval().requires_grad_(False), torch.rand(2, 5, 8)
    linear = 2 * 2 * 5 * (3 * 8 * 8 + 8 * 8 + 2 * 8 * 32)
    attention = 2 * 2 * 2 * 5 * 5 * 8  # queries with keys, weights with values
    with torch.no_grad():
        assert limits.count_operations(lambda: block(tokens)) == linear + attention
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_a_step_keeps_is_weights_gradients_and_two_states_of_adam():
    model = random_model('ViT-B-32', 'fp32', Settings(CPU, quick=True))
    step = Step(model, partial(model.loss, dict(depth_views=random_views(model, 2),
                                                images=random_views(model, 2, channels=3))))
    weights = sum(4 * value.numel() for value in model.parameters())
    trained = sum(4 * value.numel() for value in model.parameters() if value.requires_grad)
    assert 0 < trained < weights and step.memory_between_steps() == weights
    step()
    assert step.memory_between_steps() == weights + 3 * trained


@pytest.fixture(scope='module')
def model():
    return random_model('ViT-B-32', 'fp32', Settings(CPU, quick=True))


def test_the_released_computation_has_the_results_of_ours(model):
    views, images = random_views(model, 2), random_views(model, 2, channels=3)
    colored, texts = views.unsqueeze(2).expand(-1, -1, 3, -1, -1), F.normalize(torch.randn(4, 32), dim=-1)
    with torch.no_grad():
        expected = model.zero_shot_head.scores(texts, **model.encode_views(views, ('pretrained', 'tuned')))
        torch.testing.assert_close(released_scores(model.backbone, colored, texts), expected, atol=1e-5, rtol=0)
        depth, image = ReleasedAlignment(model.backbone)(colored, images)
        torch.testing.assert_close(depth, object_features(model.encode_views(views, 'tuned')), atol=1e-5, rtol=0)
        torch.testing.assert_close(image, object_features(model.encode_views(images, 'pretrained')), atol=1e-5, rtol=0)


def test_the_released_model_file_calls_the_tower(model, tmp_path):
    """A file with the interface of the release, whose features are recognizable."""
    (tmp_path / 'model.py').write_text(
        'import torch\n\n\nclass OpenDlign(torch.nn.Module):\n    def __init__(self, clip_model, tokenizer):\n'
        '        super().__init__()\n        self.clip_model = clip_model\n\n    def forward(self, rgb, depth):\n'
        '        encode = self.clip_model.encode_image\n'
        '        return dict(feature_A=encode(depth[:, 0], state="depth_branch"),\n'
        '                    feature_B=encode(rgb[:, 0], state="rgb_branch"))\n')
    views = random_views(model, 2, channels=3)
    against = ReleasedAlignment(model.backbone, tmp_path)
    assert 'model.py' in against.label
    with torch.no_grad():
        depth, image = against(views, views)
        both = model.encode_views(views, ('pretrained', 'tuned'))
    torch.testing.assert_close(F.normalize(depth, dim=-1), both['tuned'][:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(F.normalize(image, dim=-1), both['pretrained'][:, 0], atol=1e-5, rtol=0)
    (tmp_path / 'model.py').write_text('')
    with pytest.raises(ValueError, match='model.py defines no OpenDlign'):
        ReleasedAlignment(model.backbone, tmp_path)
    (tmp_path / 'model.py').unlink()
    with pytest.raises(FileNotFoundError, match="model.py does not exist: --against takes the folder"):
        ReleasedAlignment(model.backbone, tmp_path)


def test_results_as_a_table_json_and_a_plot(tmp_path):
    rows = [Row('encode', 'scores', .0125, 'object', 'bfloat16', 'the release', .5, 40.2, .00625,
                dict(least_cosine=.9996)),
            Row('search', 'query', 2e-5, 'query')]
    lines = table(rows).splitlines()
    assert lines[2] == ('| scores | bfloat16 | 12.5 ms / object | the release | 500 ms / object | 40.20 x | 50 % | '
                        'least cosine 0.9996 |')
    assert lines[3] == '| query | float32 | 20 µs / query |  |  |  |  |  |'
    assert [time_text(value) for value in (12.345, 1.)] == ['12.3 s', '1 s']
    curves = [Curve('search', f'query {number}', 'objects', (1, 10), (.1, .2)) for number in range(4)]
    contents = json.loads(json.dumps(as_json(dict(cores=2), rows, curves)))
    assert contents['rows'][0]['share_of_limit'] == .5 and contents['curves'][3]['sizes'] == [1, 10]
    picture = np.asarray(Image.open(draw_curves(curves, tmp_path / 'curves.png')).convert('L'))
    assert (picture < 200).any(axis=0).sum() > picture.shape[1] / 3


def test_the_machine_is_described_for_json():
    machine = json.loads(json.dumps(describe_machine(CPU, quick=True)))
    assert machine['threads'] == torch.get_num_threads() and machine['versions']['torch'] == torch.__version__
    assert all(value > 0 for value in machine['rates'].values()) and 'matmul_bfloat16' in machine['rates']


def test_the_parts_of_a_block_have_the_operations_of_their_products():
    """By hand: the widening product of 9 tokens of width 32 to 128; a product-sum counts twice."""
    found = {row.what.partition(', ')[2]: row for row in parts_of_block(Settings(CPU, quick=True))}
    rate = limits.matmul_rate(CPU, torch.bfloat16, True)
    assert found['product widen'].limit_seconds == pytest.approx(2 * 9 * 32 * 128 / rate)
    assert found['attention'].limit_seconds == pytest.approx(2 * 2 * 9 * 9 * 32 / rate)
    assert found['attention'].facts['flash_seconds_of_a_view'] > 0 and len(found) == 8


def test_only_gpus_that_are_known_have_a_peak(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'NVIDIA H100 80GB HBM3')
    assert limits.peak_of_data_sheet(torch.device('cuda')) == 989e12 and limits.peak_of_data_sheet(CPU) is None
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'NVIDIA L4')
    assert limits.peak_of_data_sheet(torch.device('cuda')) is None
