"""Table 5, dlign-text & depth, of the demonstration model, first stage: tunes the image encoder on images and text.

    c=configs/alignment/tiny_dlign_text
    python tools/train.py $c.py
    python tools/convert_checkpoint.py opendlign work_dirs/tiny_dlign_text/epoch_10.pth \
        work_dirs/tiny_dlign_text/clip.safetensors --config $c.py --to-clip
    python tools/train.py ${c}_depth.py
    python tools/test.py ${c}_depth.py work_dirs/tiny_dlign_text_depth/epoch_10.pth
"""
_base_ = '../opendlign_tiny.py'

model = dict(backbone=dict(combine='shared'), alignment_head=dict(pairs=('image-text', )))
train_dataloader = dict(dataset=dict(pipeline=[
    _base_.train_pipeline[0], _base_.train_pipeline[1],
    dict(type='PackShapeInputs', depth_dtype='uint8', caption='a photo of a {}')]))
