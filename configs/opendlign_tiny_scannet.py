"""Detect objects in the built-in rooms (data/rooms by default) with the demonstration CLIP. Nothing is trained here.

    python tools/make_rooms.py --out data/rooms
    python tools/test.py configs/opendlign_tiny_scannet.py work_dirs/opendlign_tiny/epoch_10.pth

Without a checkpoint CLIP is used as it is. Another dataset in ScanNet's format, real ScanNet or a part of it:
    --cfg-options data_root=data/scannet
Ground-truth boxes instead of clusters, to see what the classifier alone does:
    --cfg-options model.proposals.type=GroundTruthProposals
Color views of the points instead of depth views, or both: --cfg-options model.classifier.views=both
Names by the views alone, without the usual sizes of objects: --cfg-options model.size_priors=None
Boxes from a 3DETR-m trained on rooms: configs/opendlign_tiny_rooms_3detr.py

The classes are those of the dataset: the 12 of the rooms, or ScanNet's 18.
"""
_base_ = ['_base_/default_runtime.py', '_base_/tiny_clip.py', '_base_/datasets/scannet_open_vocab.py']

data_root = 'data/rooms'

model = dict(
    type='OpenVocabDetector3D',
    proposals=dict(type='ClusterProposals'),
    projection=_base_.projection,
    classifier=dict(
        type='OpenDlign',
        backbone=_base_.clip_backbone,
        zero_shot_head=dict(type='ZeroShotHead', templates=_base_.templates, aggregation='softmax_sum'),
        color_head=dict(templates=_base_.photo_templates)),
    # Views do not show how large an object is. Both exponents were chosen like the temperature below.
    size_priors=dict(sizes='builtin', weight=.5, misfit=.2, missing='keep'),
    # A small CLIP is overconfident: a softer softmax than CLIP's 0.01 keeps the second guess, which average precision
    # rewards. Chosen on the rooms of make_rooms.py --num-val 6 --seed 1.
    bbox_head=dict(type='OpenVocabBBoxHead', temperature=0.1))

test_dataloader = dict(dataset=dict(data_root=data_root))
