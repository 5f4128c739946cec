"""PointCLIP, zero-shot detection on ScanNet's 18 classes (table 3). Nothing is trained here.

    python tools/test.py configs/baselines/pointclip_scannet.py --cfg-options data_root=data/scannet

The boxes and other sources of boxes are those of configs/opendlign_h14_scannet.py.
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/pointclip.py', '../_base_/datasets/scannet_open_vocab.py']

model = dict(
    type='OpenVocabDetector3D',
    proposals=dict(
        type='ThreeDETRProposals',
        config='{{fileDirname}}/../3detr_m_scannet.py',
        checkpoint='checkpoints/3detr_m_scannet.pth'),
    projection=dict(type='PointCLIPProjection'),
    classifier=_base_.pointclip,
    max_proposals=256,
    # The softmax has CLIP's own temperature, by which the released classifier multiplies, too.
    bbox_head=dict(type='OpenVocabBBoxHead', temperature=0.01, nms_threshold=0.25))
