"""OpenDlign on ViT-B-16 (DFN-2B), trained as opendlign_h14.py says."""
_base_ = [
    '_base_/zero_shot_runtime.py', '_base_/schedules/one_cycle_10e.py', '_base_/models/opendlign_b16.py',
    '_base_/datasets/released_shapenet.py']

# bfloat16 forward passes, on CPU as on CUDA.
optim_wrapper = dict(type='AutocastOptimWrapper')
