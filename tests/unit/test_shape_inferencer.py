"""ShapeInferencer: files and arrays in, labels in the words of the user out."""
import json

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from helpers.tiny_inferencers import WORDS, shape_config, shape_inferencer, shapes
from opendlign_mm.datasets.procedural import CATEGORIES


@pytest.fixture(scope='module')
def classify():
    return shape_inferencer()


def without_names(found):
    return [{key: value for key, value in each.items() if key != 'input'} for each in found['predictions']]


def test_scores_are_the_softmax_of_the_models_logits_best_first(classify):
    clouds = shapes()
    found = classify(clouds, WORDS, top_k=4)['predictions']
    views = classify.projection([torch.from_numpy(cloud) for cloud in clouds])
    classify.model.set_vocabulary(WORDS)
    expected = torch.exp(classify.model.class_logits(views).double() / .01)
    expected = expected / expected.sum(dim=1, keepdim=True)
    for row, prediction in zip(expected.tolist(), found):
        assert prediction['scores'] == pytest.approx(sorted(row, reverse=True), abs=1e-4)
        assert prediction['labels'][0] == WORDS[int(np.argmax(row))] and sorted(prediction['labels']) == sorted(WORDS)


def test_labels_are_those_of_the_runner(tmp_path):
    cfg = shape_config()
    cfg.work_dir = str(tmp_path)
    init_default_scope('mmdet3d')
    runner = Runner.from_cfg(cfg)
    dataset = runner.test_dataloader.dataset
    clouds, samples = [], []
    for index in range(len(dataset)):
        record = dataset.get_data_info(index)
        clouds.append(dataset.pipeline.transforms[0](record)['points'])
        samples.append(runner.model.test_step(dict(inputs=[dataset[index]['inputs']],
                                                   data_samples=[dataset[index]['data_samples']]))[0])
    found = shape_inferencer()(clouds, CATEGORIES, top_k=3)['predictions']
    for sample, prediction in zip(samples, found):
        assert prediction['labels'] == [CATEGORIES[label] for label in sample.pred_scores.topk(3).indices]


def test_batches_orders_and_other_inputs_change_nothing(classify):
    clouds = shapes()
    together = without_names(classify(clouds, WORDS, batch_size=3, embed=True))
    for index, cloud in enumerate(clouds):
        alone, = without_names(classify(cloud, WORDS, embed=True))
        assert alone['labels'] == together[index]['labels']
        assert alone['scores'] == pytest.approx(together[index]['scores'], abs=1e-4)
        assert np.allclose(alone['embedding'], together[index]['embedding'], atol=1e-5)
    backwards = without_names(classify(clouds[::-1], WORDS, batch_size=2))
    assert [each['labels'] for each in backwards[::-1]] == [each['labels'] for each in together]


def test_a_broken_input_is_reported_in_its_place_and_the_others_go_on(classify, tmp_path):
    clouds = shapes()
    (tmp_path / 'empty.ply').write_bytes(b'')
    inputs = [clouds[0], tmp_path / 'empty.ply', 'no/such.ply', clouds[1][:, :2], clouds[1]]
    found = classify(inputs, WORDS, batch_size=2, out_dir=tmp_path / 'out', return_vis=True,
                     pred_out_file=tmp_path / 'found.json')
    errors = [each.get('error', '') for each in found['predictions']]
    assert [bool(error) for error in errors] == [False, True, True, True, False]
    assert 'empty.ply' in errors[1] and 'no/such.ply' in errors[2] and '(400, 2)' in errors[3]
    assert without_names(classify(clouds[:2], WORDS))[1]['labels'] == found['predictions'][4]['labels']
    assert [image is None for image in found['visualization']] == [bool(error) for error in errors]
    assert json.loads((tmp_path / 'found.json').read_text()) == dict(predictions=found['predictions'])
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['index.html', 'input_1.png', 'input_5.png']
    page = (tmp_path / 'out/index.html').read_text()
    assert 'no/such.ply' in page and page.count('data:image/png;base64') == 2 and 'http' not in page


def test_files_of_one_name_in_two_folders_keep_their_pictures(classify, tmp_path):
    for name, cloud in zip(('a', 'b'), shapes()):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / 'thing.npy', cloud)
    found = classify([tmp_path / 'a', tmp_path / 'b'], WORDS, out_dir=tmp_path / 'out')['predictions']
    assert [each['input'] for each in found] == [str(tmp_path / name / 'thing.npy') for name in ('a', 'b')]
    assert {path.name for path in (tmp_path / 'out').glob('*.png')} == {'a__thing.png', 'b__thing.png'}


def test_a_vocabulary_is_encoded_once_and_another_one_may_follow(classify, monkeypatch):
    calls = []
    encode = classify.model.backbone.encode_text
    monkeypatch.setattr(classify.model.backbone, 'encode_text', lambda texts: calls.append(texts) or encode(texts))
    cloud, words = shapes()[0], ['sofa', 'desk']
    first = classify(cloud, words)['predictions']
    assert len(calls) == 1 and set(first[0]['labels']) == set(words)
    assert classify(cloud, ['door', 'window'])['predictions'][0]['labels'][0] in ('door', 'window') and len(calls) == 2
    assert classify(cloud, words)['predictions'] == first and len(calls) == 2


@pytest.mark.parametrize('options, words', [
    (dict(classes=[]), 'no class name'), (dict(classes=['chair', ' ']), 'class name 2 of 2 is empty'),
    (dict(classes=['chair', 'Chair']), "'chair' and 'Chair'"), (dict(top_k=0), 'top_k'),
    (dict(batch_size=0), 'batch_size'), (dict(up='x'), "'x'"), (dict(pred_out_file='found.txt'), 'found.txt'),
    (dict(colour=1), 'colour')])
def test_options_that_make_no_sense_are_refused(classify, options, words):
    arguments = dict(dict(classes=WORDS), **options)
    with pytest.raises(ValueError, match=words):
        classify(shapes()[0], **arguments)
