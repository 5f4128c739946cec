"""Runtime of every config here: mmdet3d's own, this package's components, and randomness that a resumed run repeats."""
_base_ = 'mmdet3d::_base_/default_runtime.py'

custom_imports = dict(imports=['opendlign_mm'], allow_failed_imports=False)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=2))
custom_hooks = [dict(type='EpochSeedHook'), dict(type='CheckpointGuardHook'), dict(type='SaveResultsHook')]
randomness = dict(seed=0)
