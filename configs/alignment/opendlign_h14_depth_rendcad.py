"""Table 5, depth-rendCAD: opendlign_h14.py on renderings of the CAD models in the place of depth-aligned images.

    python tools/render_images.py ShapeNetCore.v2/ data/shapenet_rendered --workers 8
    python tools/train.py configs/alignment/opendlign_h14_depth_rendcad.py
"""
_base_ = '../opendlign_h14_generated.py'

images_root = 'data/shapenet_rendered'
train_dataloader = dict(dataset=dict(data_root=images_root))
