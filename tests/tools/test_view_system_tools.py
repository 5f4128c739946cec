"""Commands for PointCLIP and CLIP2Point: checkpoints of their releases, the search of prompts, and detection."""
import json
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.scenes import furnished_room
from helpers.tiny_clip import TINY_CLIP
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.apis import init_model

CLASSES = ('chair', 'lamp', 'cup', 'sofa')
TWIN = dict(type='CLIPTwinBackbone', clip='tiny', model_config=TINY_CLIP, pretrained=None)
FROZEN = dict(type='CLIPDepthBackbone', clip='tiny', model_config=TINY_CLIP, pretrained=None, num_blocks=0)
HEAD = dict(type='WeightedViewHead', templates=['a {}'])


def write_config(path, model, **options):
    Config(dict(custom_imports=dict(imports=['opendlign_mm'], allow_failed_imports=False), default_scope='mmdet3d',
                model=model, **options)).dump(str(path))
    return str(path)


def run(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
    load_tool(tool).main()


@pytest.fixture
def convert(monkeypatch, tmp_path):
    return lambda *arguments: run(monkeypatch, 'convert_checkpoint', *arguments)


# --- checkpoints ------------------------------------------------------------------------------------------------------

def adapter_state(channels=32, views=3, last=False, prefix=''):
    """An adapter in the layout of both releases, with random entries."""
    shapes = {'fusion_ratio': (views, ), **{f'global_f.{part}.{name}': (channels, ) for part in ('0.bn', '4')
                                            for name in ('weight', 'bias', 'running_mean', 'running_var')},
              'global_f.3.weight': (channels, views * channels), 'global_f.3.bias': (channels, )}
    shapes.update({'global_f.7.weight': (channels, channels), 'global_f.7.bias': (channels, )} if last else {
        'view_f.0.weight': (channels, channels), 'view_f.0.bias': (channels, ),
        'view_f.2.weight': (views * channels, channels), 'view_f.2.bias': (views * channels, )})
    state = {prefix + key: torch.rand(shape) for key, shape in shapes.items()}
    state.update({f'{prefix}global_f.{part}.num_batches_tracked': torch.tensor(7) for part in ('0.bn', '4')})
    return state


def test_pointclip_checkpoints_there_and_back(convert, tmp_path, capsys):
    torch.manual_seed(0)
    released = adapter_state()
    torch.save(dict(state_dict=released, epoch=250, val_result=86.7, optimizer=dict(param_groups=[])),
               tmp_path / 'model-best.pth.tar')
    model = dict(type='PointCLIP', backbone=FROZEN, zero_shot_head=dict(HEAD, class_names=CLASSES),
                 adapter=dict(type='InterViewAdapter', num_views=3))
    config = write_config(tmp_path / 'few_shot.py', model)
    convert('pointclip', tmp_path / 'model-best.pth.tar', tmp_path / 'ours.pth', '--config', config)
    assert '17 entries placed, 0 not placed' in capsys.readouterr().out
    adapter = init_model(config, tmp_path / 'ours.pth').adapter
    assert torch.equal(adapter.fusion.ratios, released['fusion_ratio'])
    assert torch.equal(adapter.expand.weight, released['view_f.2.weight'])
    convert('pointclip', tmp_path / 'ours.pth', tmp_path / 'back.pth', '--config', config, '--to-release')
    back = torch.load(tmp_path / 'back.pth')['state_dict']
    assert back.keys() == released.keys() and all(torch.equal(value, released[key]) for key, value in back.items())

    plain = write_config(tmp_path / 'plain.py', {**model, 'adapter': None})
    wide = write_config(tmp_path / 'wide.py', {**model, 'adapter': dict(type='InterViewAdapter', num_views=4)})
    other = write_config(tmp_path / 'other.py', dict(type='OpenDlign', backbone=FROZEN))
    torch.save(dict(state_dict={'a': torch.zeros(1)}), tmp_path / 'else.pt')
    for config_, source, message in ((plain, 'model-best.pth.tar', 'no adapter'), (wide, 'model-best.pth.tar', 'fit'),
                                     (other, 'model-best.pth.tar', 'OpenDlign'), (config, 'else.pt', 'not an adapter')):
        with pytest.raises(SystemExit) as error:
            convert('pointclip', tmp_path / source, tmp_path / 'none.pth', '--config', config_)
        assert message in str(error.value) + capsys.readouterr().err
    assert not (tmp_path / 'none.pth').exists()


@pytest.mark.parametrize('with_adapter', [False, True])
def test_clip2point_checkpoints_there_and_back(convert, tmp_path, capsys, with_adapter):
    torch.manual_seed(0)
    model = dict(type='CLIP2Point', backbone=TWIN, adapter=dict(type='DualPathAdapter', num_views=3)
                 if with_adapter else None)
    config = write_config(tmp_path / 'config.py', model)
    clip = init_model(config).backbone.clip.visual.state_dict()
    tuned = {key: torch.rand_like(value) for key, value in clip.items()}
    views = {'azim': [0, 0, 0, 0, -45, 45, -45, 45, -90, 90], 'elev': [0, 90, 180, 270, 225, 225, 315, 315, 0, 0],
             'dist': [1] * 10}
    views = {f'selector.view_selector.views_{key}': torch.tensor(value).float() for key, value in views.items()}
    if with_adapter:
        released = {**{f'pre_model.{key}': value for key, value in tuned.items()},
                    **{f'ori_model.{key}': value for key, value in clip.items()},
                    **adapter_state(last=True, prefix='adapter1.'), **adapter_state(last=True, prefix='adapter2.'),
                    **views}
    else:
        released = {**{f'module.point_model.{key}': value for key, value in tuned.items()},
                    **{f'module.image_model.{key}': value for key, value in clip.items()},
                    'module.weights': torch.tensor(.8), **{f'module.{key}': value for key, value in views.items()}}
    torch.save(released, tmp_path / 'released.pth')
    convert('clip2point', tmp_path / 'released.pth', tmp_path / 'ours.pth', '--config', config)
    assert ' 0 not placed' in capsys.readouterr().out
    ours = init_model(config, tmp_path / 'ours.pth')
    assert torch.equal(ours.backbone.tuned_visual.proj, tuned['proj'])
    if not with_adapter:
        assert float(ours.depth_weight) == pytest.approx(.8)
    convert('clip2point', tmp_path / 'ours.pth', tmp_path / 'back.pth', '--config', config, '--to-release')
    back = torch.load(tmp_path / 'back.pth')
    assert back.keys() == released.keys() and all(torch.equal(value, released[key]) for key, value in back.items())

    other_clip = write_config(tmp_path / 'other.py', {**model, 'backbone': dict(TWIN, random_seed=1)})
    other_kind = write_config(tmp_path / 'kind.py', {**model, 'adapter': None if with_adapter else dict(
        type='DualPathAdapter', num_views=3)})
    turned = {key: value + 90 if key.endswith('azim') else value for key, value in released.items()}
    torch.save(turned, tmp_path / 'turned.pth')
    for config_, source, message in ((other_clip, 'released', 'another CLIP'), (other_kind, 'released', 'adapter'),
                                     (config, 'turned', 'trained on views')):
        with pytest.raises(SystemExit) as error:
            convert('clip2point', tmp_path / f'{source}.pth', tmp_path / 'none.pth', '--config', config_)
        assert message in str(error.value) + capsys.readouterr().err


# --- searches ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def shapes(tmp_path):
    pipeline = [dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=dict(
        resolution=32, depth_bins=8, view_angles=(30, 120, 200))), dict(type='PackShapeInputs')]
    loader = dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
        type='BuiltInShapes', split='test', num_per_category=2, categories=CLASSES, num_points=200, pipeline=pipeline))
    return write_config(
        tmp_path / 'shapes.py', dict(type='PointCLIP', backbone=FROZEN, zero_shot_head=HEAD), test_dataloader=loader,
        test_cfg=dict(), test_evaluator=dict(type='ZeroShotAccuracy'), work_dir=str(tmp_path / 'work'),
        custom_hooks=[dict(type='VocabularyFromDatasetHook')])


def test_search_writes_what_the_head_reads(shapes, monkeypatch, tmp_path, capsys):
    from opendlign_mm.datasets.procedural import CATEGORIES
    library = {name: [f'a {name}', f'one {name} alone'] for name in CATEGORIES}
    (tmp_path / 'library.json').write_text(json.dumps(library))
    out = tmp_path / 'search.json'
    arguments = [shapes, '--num-workers', '0', '--library', tmp_path / 'library.json', '--values', '0.5', '1']
    run(monkeypatch, 'search_prompts', *arguments, '--val', 'split=val', '--out', out)
    printed = capsys.readouterr()
    found = json.loads(out.read_text())
    assert 'WARNING' not in printed.err and found['searched_on'] == 'validation split' and found['objects'] == 8
    assert len(found['view_weights']) == 3 and set(found['view_weights']) <= {.5, 1}
    assert found['accuracy_view_weights']['before'] == pytest.approx(found['accuracy_sentences']['after'])
    run(monkeypatch, 'search_prompts', *arguments, '--out', out)
    assert 'labels of the TEST set' in capsys.readouterr().err
    found = json.loads(out.read_text())
    assert found['searched_on'] == 'test set'
    # Searched on the test set, the accuracy is that of a test with the file.
    config = Config.fromfile(shapes)
    config.model.zero_shot_head.update(view_weights=str(out), sentences=str(out))
    config.experiment_name = str(tmp_path)
    assert Runner.from_cfg(config).test()['zero_shot/top1'] == pytest.approx(found['accuracy_view_weights']['after'])


def test_search_refuses_what_it_cannot_search(shapes, monkeypatch, tmp_path, capsys):
    (tmp_path / 'library.json').write_text('{"chair": ["a chair"]}')
    for arguments, message in (
            (['--no-weights'], 'nothing to search'), (['--library', tmp_path / 'library.json'], 'has no sentences of'),
            (['--val', 'split=test'], 'test objects, too'),
            (['--cfg-options', 'model.type=OpenDlign', 'model.zero_shot_head.type=ZeroShotHead',
              'model.zero_shot_head.branches=pretrained'], 'a ZeroShotHead, whose views have no weights')):
        with pytest.raises(SystemExit) as error:
            run(monkeypatch, 'search_prompts', shapes, '--num-workers', '0', '--out', tmp_path / 'none.json',
                *arguments)
        assert message in str(error.value) + capsys.readouterr().err
    assert not (tmp_path / 'none.json').exists()


def test_few_shot_classification_takes_the_views(shapes, monkeypatch, tmp_path, capsys):
    run(monkeypatch, 'few_shot', shapes, '--train', 'split=train', '--shots', '1', '--seeds', '2', '--num-workers', '0',
        '--out', tmp_path / 'out')
    rows = [line.split(',') for line in (tmp_path / 'out/few_shot.csv').read_text().splitlines()]
    config = Config.fromfile(shapes)
    config.experiment_name = str(tmp_path)
    assert [row[:2] for row in rows[1:]] == [['0', ''], ['1', '0'], ['1', '1']]
    assert float(rows[1][2]) == pytest.approx(Runner.from_cfg(config).test()['zero_shot/top1'])


# --- detection --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['pointclip_scannet', 'pointclip_v2_scannet'])
def test_detection_configs_classify_boxes(tmp_path, name):
    from mmdet3d.registry import MODELS
    from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
    config = Config.fromfile(REPOSITORY / f'configs/baselines/{name}.py')
    config.model.proposals = dict(type='GroundTruthProposals')
    config.model.classifier.backbone.update(clip='tiny', model_config=TINY_CLIP, pretrained=None, resize=True)
    config.model.classifier.zero_shot_head.update(
        class_names=CLASSES, text_cache_dir=None, **({} if 'v2' in name else dict(view_weights=[1, .5, 1, .25, 1, 0])))
    detector = MODELS.build(config.model).eval()
    points, boxes = furnished_room()
    sample = Det3DDataSample()
    sample.eval_ann_info = dict(
        gt_bboxes_3d=DepthInstance3DBoxes(boxes, box_dim=6, with_yaw=False, origin=(0.5, 0.5, 0.5)),
        gt_labels_3d=np.zeros(len(boxes), dtype=np.int64))
    found, = detector.predict(dict(points=[points]), [sample])
    probabilities = found.proposals_3d.class_probabilities
    assert probabilities.shape == (len(boxes), 4)
    _, crops = detector.crop_proposals(points, found.proposals_3d)
    scores = detector.classifier.zero_shot(detector.projection(crops))
    scale = float(detector.classifier.backbone.logit_scale.exp())
    # The softmax of the released scores, whose scale is 100 where CLIP was trained.
    torch.testing.assert_close(probabilities, (scores * 100 / scale).softmax(1), atol=1e-5, rtol=1e-4)


def test_detector_takes_the_checkpoint_of_an_adapter(tmp_path):
    from mmdet3d.registry import MODELS
    model = dict(type='CLIP2Point', backbone=TWIN, adapter=dict(type='DualPathAdapter', num_views=6),
                 zero_shot_head=dict(type='ZeroShotHead', templates=['a {}'], aggregation='sum', branches='tuned'))
    classifier = MODELS.build(model)
    with torch.no_grad():
        for parameter in classifier.adapter.parameters():
            parameter.add_(.1)
    detector = MODELS.build(dict(type='OpenVocabDetector3D', proposals=dict(type='ClusterProposals'), classifier=model,
                                 projection=dict(type='RenderedDepthProjection', resolution=32)))
    incompatible = detector.load_state_dict(classifier.state_dict(), strict=False)
    assert not incompatible.missing_keys and not incompatible.unexpected_keys
    assert torch.equal(detector.classifier.adapter.tuned[1].weight, classifier.adapter.tuned[1].weight)


# --- inferencer -------------------------------------------------------------------------------------------------------

def test_shape_inferencer_projects_as_the_config_does():
    """With the resolution of its views, and objects of any size in the unit ball."""
    from opendlign_mm.apis import ShapeInferencer
    config = Config.fromfile(REPOSITORY / 'configs/baselines/pointclip_rn50.py')
    config.model.backbone.update(clip='tiny', model_config=TINY_CLIP, pretrained=None, resize=True)
    config.model.zero_shot_head.text_cache_dir = None
    inferencer = ShapeInferencer(config, device='cpu', show_progress=False)
    assert (inferencer.projection.resolution, inferencer.projection.normalize) == (128, True)
    points = np.random.default_rng(0).random((300, 3)) * 40
    prediction, = inferencer(points, classes=CLASSES, up='z')['predictions']
    views = inferencer.projection([torch.from_numpy(points)])
    scores = inferencer.model.class_logits(views)[0] / .01
    assert prediction['labels'][0] == CLASSES[int(scores.argmax())]
    assert prediction['scores'] == pytest.approx(scores.softmax(0).sort(descending=True).values.tolist(), abs=1e-4)
