"""Config of a complete run that takes seconds: random CLIP, small views, a few built-in shapes."""
import json
from itertools import count
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from helpers.tiny_clip import TINY_BACKBONE
from opendlign_mm.datasets.procedural import CATEGORIES

RUNS = count()
CLASSES = ('chair', 'table', 'bottle', 'lamp')
PROJECTION = dict(resolution=32, depth_bins=8, view_angles=(30, 120))


@TRANSFORMS.register_module(force=True)
class RandomYaw(BaseTransform):
    """Rotate the points about z by an angle from the global generators, which a resumed run has to repeat."""

    def transform(self, results: dict) -> dict:
        angle = np.random.uniform(0, .5) + float(torch.rand(())) / 2
        turn = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        results['points'] = results['points'] @ turn.T.to(results['points'])
        return results


def tiny_model_config(**alignment_head) -> dict:
    return dict(
        type='OpenDlign',
        backbone=dict(TINY_BACKBONE),
        alignment_head=dict(type='DepthImageContrastiveHead', **alignment_head),
        zero_shot_head=dict(type='ZeroShotHead', class_names=CATEGORIES, templates=['a {}']),
        compare_pretrained=True)


def tiny_model(**alignment_head) -> torch.nn.Module:
    init_default_scope('mmdet3d')
    return MODELS.build(tiny_model_config(**alignment_head))


def tiny_config(work_dir, objects_per_class: int = 3, epochs: int = 2, workers: int = 0, batch: int = 4,
                augment: bool = True) -> Config:
    """Return the config of a run on objects of four classes; the labels are those of all built-in classes."""
    load = [dict(type='LoadBuiltInShape')]
    project = [dict(type='ProjectPointsToDepth', projection=PROJECTION)]
    images = [dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))]
    pack = [dict(type='PackShapeInputs')]
    shapes = dict(type='BuiltInShapes', categories=CLASSES, num_points=300)

    def loader(shuffle: bool, **options) -> dict:
        return dict(batch_size=batch, num_workers=options.pop('num_workers', 0), persistent_workers=False,
                    sampler=dict(type='DefaultSampler', shuffle=shuffle), dataset=dict(shapes, **options))

    return Config(dict(
        default_scope='mmdet3d',
        custom_imports=dict(imports=['opendlign_mm', 'helpers.tiny_runs'], allow_failed_imports=False),
        model=tiny_model_config(),
        train_dataloader=loader(True, split='train', num_per_category=objects_per_class, num_workers=workers,
                                pipeline=load + [dict(type='RandomYaw')] * augment + project + images + pack),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-4, weight_decay=.1)),
        param_scheduler=[dict(type='OneCycleLR', eta_max=3e-4, by_epoch=True, convert_to_iter_based=True)],
        test_dataloader=loader(False, split='test', num_per_category=2, pipeline=load + project + pack),
        test_cfg=dict(), test_evaluator=dict(type='ZeroShotAccuracy'),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='EpochSeedHook'), dict(type='CheckpointGuardHook')],
        # Loggers are known by this name and the second: two runs within one would write to one log.
        experiment_name=f'run{next(RUNS)}', randomness=dict(seed=3), work_dir=str(work_dir)))


def scalars(work_dir) -> dict:
    """Return (epoch, iteration) -> logged values of all logs in a work directory; later logs override earlier ones."""
    rows = [json.loads(line) for log in sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
            for line in log.read_text().splitlines()]
    return {(row['epoch'], row['iter']): row for row in rows if 'epoch' in row}
