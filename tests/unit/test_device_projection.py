"""Points of a batch become depth views on the device of the model, the same as by data workers."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS, TRANSFORMS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from helpers.tiny_runs import PROJECTION
from opendlign_mm.datasets.collate import collate_shapes
from opendlign_mm.models import ViewDataPreprocessor


@pytest.fixture(scope='module')
def shapes():
    rng = np.random.default_rng(0)
    return [dict(points=torch.from_numpy(rng.random((count, 3), np.float32)), sample_id=f'shape {count}', gt_label=0)
            for count in (50, 80, 50)]


def run(steps, shapes, collate=collate_shapes):
    init_default_scope('mmdet3d')
    samples = []
    for shape in shapes:
        results = dict(shape)
        for step in steps:
            results = TRANSFORMS.build(step)(results)
        samples.append(results)
    return collate(samples)


def packed_points(shapes, collate=collate_shapes, **options):
    return run([dict(dict(type='PackPointInputs', use_colors=False), **options)], shapes, collate)


def preprocessor():
    init_default_scope('mmdet3d')
    return MODELS.build(dict(type='ProjectingDataPreprocessor', projection=PROJECTION))


@pytest.mark.parametrize(('chosen', 'collate'), [((0, 2), collate_shapes), ((0, 1, 2), pseudo_collate)])
def test_views_are_those_of_the_pipeline(shapes, chosen, collate):
    some = [shapes[index] for index in chosen]
    steps = [dict(type='ProjectPointsToDepth', projection=PROJECTION), dict(type='PackShapeInputs')]
    expected = ViewDataPreprocessor()(run(steps, some))
    found = preprocessor()(packed_points(some, collate))
    assert set(found['inputs']) == {'depth_views'}
    assert torch.equal(found['inputs']['depth_views'], expected['inputs']['depth_views'])
    assert [sample.sample_id for sample in found['data_samples']] == [shape['sample_id'] for shape in some]


def test_what_cannot_be_projected_is_one_message(shapes):
    with pytest.raises(ValueError, match=r'got colors, points; end the pipeline with PackPointInputs\(use_colors'):
        preprocessor()(packed_points(shapes[:1], use_colors=True))
    broken = dict(shapes[0], points=torch.full((50, 3), float('nan')))
    with pytest.raises(ValueError, match=r'cloud 1 has 50 of 50 points .* \(the batch: shape 50, shape 50\)'):
        preprocessor()(packed_points([shapes[0], broken]))


def test_pinned_memory_is_moved_without_a_wait(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.Tensor, 'is_pinned', lambda self: True)
    original = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, 'to', lambda self, *places, **options: (
        asked.append(options), original(self, *places, **options))[1])
    ViewDataPreprocessor()(dict(inputs=dict(depth_views=torch.ones(1, 2, 4, 4)), data_samples=None))
    assert asked == [dict(non_blocking=True)]
