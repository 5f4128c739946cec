"""Table 5, depth-text & dlign: opendlign_h14.py with a text term beside the image term. The preset for scans.

In the paper it is the best on ScanObjectNN (60.7 % instead of 59.5) and worse on complete shapes.

    python tools/train.py configs/alignment/opendlign_h14_depth_text_dlign.py --cfg-options data_root=data/opendlign

The release has no captions: shapenet/captions.json is {id: text}, see configs/opendlign/README.md.
"""
_base_ = '../opendlign_h14.py'

model = dict(alignment_head=dict(pairs=('depth-image', 'depth-text')))
train_pipeline = [
    dict(type='LoadDepthViews'),
    dict(type='LoadDepthAlignedImages'),
    dict(type='PackShapeInputs', depth_dtype='uint8', caption='a depth map of a {}')]
train_dataloader = dict(dataset=dict(captions='captions.json', pipeline=train_pipeline))
