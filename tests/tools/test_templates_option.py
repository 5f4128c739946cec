"""--templates: the authors' file of prompts as it is, for the tools with a config and for the inferencers."""
import argparse
import json

import pytest
from mmengine.config import Config

from helpers.tiny_inferencers import scene_inferencer, shape_inferencer
from opendlign_mm.command_line.options import load_config
from opendlign_mm.models.prompts import depth_templates, imagenet_templates, look_released

AUTHORS = {name: [f'{name} {number} of a {{}}, a silhouette of a {{}}' for number in range(80)]
           for name in ('modelnet40', 'scanobjectnn', 'OmniObject3D', 'objaverse_lvis')}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'templates.json'
    path.write_text(json.dumps(AUTHORS))
    return path


def config(tmp_path, dataset, model=None):
    model = model or dict(type='OpenDlign', backbone=dict(), zero_shot_head=dict(type='ZeroShotHead'))
    Config(dict(model=model, test_dataloader=dict(dataset=dataset))).dump(str(tmp_path / 'config.py'))
    return argparse.Namespace(config=str(tmp_path / 'config.py'), cfg_options=None, work_dir=None, local_rank=0,
                              launcher='none', templates=None)


@pytest.mark.parametrize('dataset, name', [
    (dict(type='ReleasedDepthMaps', dataset='modelnet40'), 'modelnet40'),
    (dict(type='ReleasedDepthMaps', dataset='OmniObject3D'), 'OmniObject3D'),
    (dict(type='ModelNet40Resampled'), 'modelnet40'), (dict(type='ScanObjectNN'), 'scanobjectnn'),
    (dict(type='ObjaverseLVIS'), 'objaverse_lvis')])
def test_the_set_of_the_test_dataset_is_taken(tmp_path, file, dataset, name):
    args = config(tmp_path, dataset)
    args.templates = str(file)
    assert load_config(args).model.zero_shot_head.templates == AUTHORS[name]


def test_of_another_dataset_the_set_has_to_be_named(tmp_path, file):
    args = config(tmp_path, dict(type='BuiltInShapes'))
    assert 'templates' not in load_config(args).model.zero_shot_head
    args.templates = str(file)
    with pytest.raises(ValueError, match="has templates for .*'modelnet40'.*choose one of them as"):
        load_config(args)
    args.templates = f'{file}#scanobjectnn'
    assert load_config(args).model.zero_shot_head.templates == AUTHORS['scanobjectnn']
    args.templates = str(tmp_path / 'none.json')
    with pytest.raises(FileNotFoundError, match='no template file'):
        load_config(args)


def test_the_classifier_of_a_detector_gets_them_and_a_model_without_prompts_refuses_them(tmp_path):
    classifier = dict(type='OpenDlign', backbone=dict(), zero_shot_head=dict(type='ZeroShotHead'))
    args = config(tmp_path, dict(type='Any'), dict(type='OpenVocabDetector3D', classifier=classifier))
    args.templates = 'a scan of a {}'
    assert load_config(args).model.classifier.zero_shot_head.templates == ['a scan of a {}']
    args = config(tmp_path, dict(type='Any'), dict(type='TriModalAligner'))
    args.templates = 'a scan of a {}'
    with pytest.raises(ValueError, match='TriModalAligner without a zero_shot_head'):
        load_config(args)


def test_inferencers_take_them(file):
    assert shape_inferencer(templates=f'{file}#modelnet40').model.zero_shot_head.templates == tuple(
        AUTHORS['modelnet40'])
    assert scene_inferencer(templates='a {} in a scan').model.classifier.zero_shot_head.templates == (
        'a {} in a scan', )


def test_only_80_templates_of_two_places_that_are_not_our_own_may_be_the_authors():
    assert look_released(AUTHORS['modelnet40'])
    assert not look_released(AUTHORS['modelnet40'][:79])
    assert not look_released([text.replace(', a silhouette of a {}', '') for text in AUTHORS['modelnet40']])
    assert not look_released(depth_templates()) and not look_released(imagenet_templates())
