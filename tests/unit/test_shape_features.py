"""Features of a dataset: the same as the model's own, and unreadable objects are skipped."""
import numpy as np
import pytest
from mmdet3d.registry import DATASETS

from helpers.broken_dataset import Broken
from helpers.tiny_runs import tiny_config, tiny_model
from opendlign_mm.apis.extract_features import describe_skipped, extract_features


@pytest.fixture
def model():
    return tiny_model().eval()


@pytest.fixture
def dataset(tmp_path):
    return DATASETS.build(tiny_config(tmp_path).test_dataloader.dataset)


@pytest.mark.parametrize('workers', [0, 1])
def test_equal_to_the_model(model, dataset, workers):
    extracted = extract_features(model, dataset, batch_size=3, num_workers=workers)
    assert len(dataset) == 8 and extracted['indices'].tolist() == list(range(8)) and not extracted['skipped']
    for index in (0, 5):
        sample = dataset[index]
        expected = model.encode_views(sample['inputs']['depth_views'][None], ('pretrained', 'tuned'))
        for branch in ('pretrained', 'tuned'):
            assert extracted['features'][branch].dtype == np.float32
            np.testing.assert_allclose(extracted['features'][branch][index], expected[branch][0].detach(), atol=1e-5)
        assert extracted['labels'][index] == int(sample['data_samples'].gt_label)
        assert extracted['sample_ids'][index] == sample['data_samples'].sample_id
        assert extracted['categories'][index] == sample['data_samples'].category


def test_some_objects_and_one_branch(model, tmp_path):
    settings = tiny_config(tmp_path).test_dataloader.dataset
    part = extract_features(model, settings, [6, 2], branches=('tuned', ))
    whole = extract_features(model, settings)
    assert list(part['features']) == ['tuned'] and part['indices'].tolist() == [6, 2]
    np.testing.assert_allclose(part['features']['tuned'], whole['features']['tuned'][[6, 2]], atol=1e-5)


@pytest.mark.parametrize('workers', [0, 1])
def test_broken_objects_are_listed(model, dataset, workers):
    # A whole batch (2, 3) and one of another.
    extracted = extract_features(model, Broken(dataset, {2, 3, 7}), batch_size=2, num_workers=workers)
    whole = extract_features(model, dataset)
    assert extracted['indices'].tolist() == [0, 1, 4, 5, 6]
    np.testing.assert_allclose(extracted['features']['tuned'], whole['features']['tuned'][[0, 1, 4, 5, 6]], atol=1e-5)
    assert extracted['labels'].tolist() == whole['labels'][[0, 1, 4, 5, 6]].tolist()
    assert extracted['skipped'] == {index: f'file {index} is truncated' for index in (2, 3, 7)}
    message = describe_skipped(extracted['skipped'], most=2)
    assert message.splitlines()[0].endswith('left out: 3') and 'file 2 is truncated' in message
    assert 'file 7' not in message and message.endswith('...') and describe_skipped({}) == ''


def test_nothing_can_be_read(model, dataset):
    with pytest.raises(ValueError, match='none of the 8 shapes can be read; the first: file 0 is truncated'):
        extract_features(model, Broken(dataset, set(range(8))))


def test_defects_are_not_swallowed(model, dataset):
    dataset.pipeline = lambda record: 1 / 0
    with pytest.raises(ZeroDivisionError):
        extract_features(model, dataset)


def test_an_unreadable_object_is_not_replaced_by_another_one(model, dataset, tmp_path):
    for name in ('lamp/a', 'lamp/b', 'chair/c'):
        (tmp_path / 'shapes' / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / 'shapes' / f'{name}.npy', np.random.default_rng(0).normal(size=(500, 3)))
    (tmp_path / 'shapes/lamp/a.npy').write_bytes(b'half')
    project = tiny_config(tmp_path).test_dataloader.dataset.pipeline[1]
    shapes = DATASETS.build(dict(
        type='ShapeFolder', data_root=str(tmp_path / 'shapes'), on_unreadable='skip',
        pipeline=[dict(type='LoadShapePoints', num_points=None), project, dict(type='PackShapeInputs')]))
    assert shapes[1]['data_samples'].sample_id != 'shapes/lamp/a.npy', 'in training another one takes its place'
    extracted = extract_features(model, shapes)
    assert extracted['indices'].tolist() == [0, 2] and list(extracted['skipped']) == [1]
    assert not shapes.test_mode, 'the dataset stays as it was'

