"""PointCLIP on the demonstration CLIP, detection in the built-in rooms. Nothing is trained here.

    python tools/make_rooms.py --out data/rooms
    python tools/test.py configs/baselines/pointclip_tiny_rooms.py
"""
_base_ = ['../_base_/default_runtime.py', '../_base_/tiny_clip.py', '../_base_/datasets/scannet_open_vocab.py']

data_root = 'data/rooms'

model = dict(
    type='OpenVocabDetector3D',
    proposals=dict(type='ClusterProposals'),
    projection=dict(type='PointCLIPProjection', resolution=64, output_resolution=112),
    classifier=dict(
        type='PointCLIP',
        backbone=dict(_base_.clip_backbone, num_blocks=0),
        zero_shot_head=dict(type='WeightedViewHead', templates=_base_.templates)),
    # As in opendlign_tiny_scannet.py.
    bbox_head=dict(type='OpenVocabBBoxHead', temperature=0.1))

test_dataloader = dict(dataset=dict(data_root=data_root))
