r"""Zero-shot detection on OV-3DET's SUN-20: single frames of SUN RGB-D with the frames' own annotations.

    python tools/make_coda_infos.py SUN_FRAMES/ --protocol ov3det_sun20 --out data/ov3det_sun20
    python tools/test.py configs/scannet/ov3det_sun20.py CHECKPOINT

SUN_FRAMES is the test split that OV-3DET publishes, FRAME_pc.npz and FRAME_bbox.npy. See ov3det_scannet20.py.
"""
_base_ = 'ov3det_scannet20.py'

data_root = 'data/ov3det_sun20'

model = dict(proposals=dict(checkpoint='checkpoints/3detr_m_sunrgbd.pth', num_points=20000,
                            config='{{fileDirname}}/../3detr_m_sunrgbd.py'))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='ov3det_sun20_infos_val.pkl'))
