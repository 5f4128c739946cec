"""Detect objects in the built-in rooms with the demonstration CLIP and boxes from a 3DETR-m trained on other rooms.

    python tools/make_rooms.py --out data/rooms --num-train 300 --num-val 24
    python tools/train.py configs/3detr_m_rooms.py
    python tools/test.py configs/opendlign_tiny_rooms_3detr.py work_dirs/opendlign_tiny/epoch_10.pth

The same with clusters: configs/opendlign_tiny_scannet.py.
"""
_base_ = 'opendlign_tiny_scannet.py'

model = dict(
    proposals=dict(
        _delete_=True,
        type='ThreeDETRProposals',
        config='{{fileDirname}}/3detr_m_rooms.py',
        checkpoint='work_dirs/3detr_m_rooms/epoch_48.pth',
        num_points=10000))
