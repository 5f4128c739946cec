"""Runtime of all configs here: mmdet3d's own, the components of this package, and hooks.

Each hook does nothing where it does not apply: CheckpointGuardHook in models without CLIP, VocabularyFromDatasetHook in
models with fixed classes, SaveResultsHook in training, DrawPredictionsHook unless it is switched on.
"""
_base_ = 'mmdet3d::_base_/default_runtime.py'

custom_imports = dict(imports=['opendlign_mm'], allow_failed_imports=False)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2),
    # Draws with the visualizer below if tools/test.py is asked to: --show-dir.
    visualization=dict(type='DrawPredictionsHook'))
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='CheckpointGuardHook'),
    dict(type='VocabularyFromDatasetHook'),
    dict(type='SaveResultsHook'),
    dict(type='DataWaitHook')]
visualizer = dict(type='FigureVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
