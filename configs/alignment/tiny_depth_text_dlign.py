"""Table 5, depth-text & dlign, of the demonstration model: opendlign_tiny.py with a text term beside the image term.

    python tools/train.py configs/alignment/tiny_depth_text_dlign.py
    python tools/test.py configs/alignment/tiny_depth_text_dlign.py work_dirs/tiny_depth_text_dlign/epoch_10.pth
"""
_base_ = '../opendlign_tiny.py'

model = dict(alignment_head=dict(pairs=('depth-image', 'depth-text')))
train_dataloader = dict(dataset=dict(pipeline=[
    _base_.train_pipeline[0], _base_.train_pipeline[1],
    dict(type='PackShapeInputs', depth_dtype='uint8', caption='a depth map of a {}')]))
