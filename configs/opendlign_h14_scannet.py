"""Zero-shot detection on ScanNet's 18 classes (the paper's table 3).

The boxes come from a trained 3DETR-m, the classes from OpenDlign on ViT-H-14. Nothing is trained here.

    python tools/convert_checkpoint.py 3detr scannet_masked_ep1080.pth checkpoints/3detr_m_scannet.pth \
        --config configs/3detr_m_scannet.py
    python tools/test.py configs/opendlign_h14_scannet.py CHECKPOINT --cfg-options data_root=data/scannet

CHECKPOINT is that of an aligned opendlign_h14. Boxes from other sources, after
--cfg-options model.proposals._delete_=True:
    model.proposals.type=GroundTruthProposals
    model.proposals.type=ClusterProposals
    model.proposals.type=FileProposals model.proposals.folder=boxes model.proposals.on_unreadable=skip
    model.proposals.type=DetectorProposals model.proposals.config=mmdet3d::votenet/votenet_8xb8_scannet-3d.py \
        model.proposals.checkpoint=votenet.pth
"""
_base_ = [
    '_base_/default_runtime.py', '_base_/models/opendlign_h14.py', '_base_/datasets/scannet_open_vocab.py']

model = dict(
    type='OpenVocabDetector3D',
    proposals=dict(
        type='ThreeDETRProposals',
        config='{{fileDirname}}/3detr_m_scannet.py',
        checkpoint='checkpoints/3detr_m_scannet.pth'),
    projection=dict(resolution=224),
    classifier=dict(
        type='OpenDlign',
        backbone=_base_.opendlign.backbone,
        zero_shot_head=_base_.opendlign.zero_shot_head),
    # The paper only says that 3DETR-m gives the boxes and OpenDlign the classes. Therefore the score is the plain
    # product, the softmax has CLIP's own temperature, and there is no background.
    background=(),
    objectness_threshold=0.,
    max_proposals=256,
    box_margin=0.,
    min_points=5,
    bbox_head=dict(
        type='OpenVocabBBoxHead',
        temperature=0.01,
        objectness_power=1.,
        probability_power=1.,
        nms_threshold=0.25,
        class_agnostic_nms=False))
