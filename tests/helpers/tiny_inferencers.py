"""Inferencers with a random CLIP, and inputs for them."""
import numpy as np
from mmengine.config import Config

from helpers.scenes import furnished_room, tiny_classifier_config
from helpers.tiny_runs import PROJECTION, tiny_model_config
from opendlign_mm.apis import SceneInferencer, ShapeInferencer
from opendlign_mm.datasets.procedural import sample_shape

WORDS = ['chair', 'table', 'lamp', 'bed']


def shape_config() -> Config:
    steps = [dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=PROJECTION),
             dict(type='PackShapeInputs')]
    dataset = dict(type='BuiltInShapes', split='test', categories=('chair', 'table', 'lamp'), num_per_category=2,
                   num_points=300, pipeline=steps)
    return Config(dict(
        default_scope='mmdet3d', model=tiny_model_config(), test_cfg=dict(),
        test_evaluator=dict(type='ZeroShotAccuracy'),
        test_dataloader=dict(batch_size=6, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                             dataset=dataset)))


def scene_config() -> Config:
    return Config(dict(default_scope='mmdet3d', model=dict(
        type='OpenVocabDetector3D', proposals=dict(type='ClusterProposals', max_proposals=12), projection=PROJECTION,
        classifier=tiny_classifier_config())))


def shape_inferencer(**options) -> ShapeInferencer:
    return ShapeInferencer(shape_config(), device='cpu', show_progress=False, **options)


def scene_inferencer(**options) -> SceneInferencer:
    return SceneInferencer(scene_config(), device='cpu', show_progress=False, **options)


def shapes() -> list[np.ndarray]:
    return [sample_shape(name, np.random.default_rng(5), 400).points for name in ('chair', 'table', 'lamp')]


def room() -> np.ndarray:
    return furnished_room()[0].numpy()
