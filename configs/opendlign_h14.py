"""OpenDlign on ViT-H-14 (DFN-5B), the paper's largest model: AdamW, one cycle with peak 3e-4, 10 epochs, batch 128, on
the authors' training set: ShapeNet's depth maps and the images generated from them.

    python tools/train.py configs/opendlign_h14.py --cfg-options data_root=data/opendlign
    python tools/test.py configs/opendlign_h14.py work_dirs/opendlign_h14/epoch_10.pth         # ModelNet40

open_clip downloads the CLIP, or give a file: --cfg-options model.backbone.pretrained=open_clip_model.safetensors
configs/opendlign_h14_built_in.py needs neither data nor weights, configs/benchmarks/ has the paper's other test sets.
"""
_base_ = [
    '_base_/zero_shot_runtime.py', '_base_/schedules/one_cycle_10e.py', '_base_/models/opendlign_h14.py',
    '_base_/datasets/released_shapenet.py']

# bfloat16 forward passes, on CPU as on CUDA.
optim_wrapper = dict(type='AutocastOptimWrapper')
