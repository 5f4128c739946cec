"""Zero-shot detection on SUN RGB-D's 10 classes, with rotated boxes from a trained 3DETR-m.

    python tools/test.py configs/opendlign_h14_sunrgbd.py CHECKPOINT --cfg-options data_root=data/sunrgbd

The data is prepared as mmdetection3d describes.
"""
_base_ = 'opendlign_h14_scannet.py'

data_root = 'data/sunrgbd'

model = dict(proposals=dict(
    config='{{fileDirname}}/3detr_m_sunrgbd.py', checkpoint='checkpoints/3detr_m_sunrgbd.pth', num_points=20000))

test_pipeline = [
    dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2, 3, 4, 5]),
    dict(type='CheckScenePoints'),
    dict(type='Pack3DDetInputs', keys=['points'])]
test_dataloader = dict(dataset=dict(
    _delete_=True,
    type='OpenVocabSUNRGBDDataset',
    data_root=data_root,
    ann_file='sunrgbd_infos_val.pkl',
    pipeline=test_pipeline,
    test_mode=True,
    box_type_3d='Depth',
    on_unreadable='skip'))
