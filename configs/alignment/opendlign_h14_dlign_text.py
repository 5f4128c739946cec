"""Table 5, dlign-text & depth, first stage: tunes the image encoder of opendlign_h14.py on images and text.

    c=configs/alignment/opendlign_h14_dlign_text
    python tools/train.py $c.py --cfg-options data_root=data/opendlign
    python tools/convert_checkpoint.py opendlign work_dirs/opendlign_h14_dlign_text/epoch_10.pth \
        checkpoints/dlign_text_clip.pt --config $c.py --to-clip
    python tools/train.py ${c}_depth.py --cfg-options data_root=data/opendlign

shapenet/captions.json is {id: text}, see configs/opendlign/README.md.
"""
_base_ = '../opendlign_h14.py'

# One tuned block in the place of CLIP's own, for images; depth views have no part in this stage.
model = dict(backbone=dict(combine='shared'), alignment_head=dict(pairs=('image-text', )))
train_pipeline = [
    dict(type='LoadDepthViews'),
    dict(type='LoadDepthAlignedImages'),
    dict(type='PackShapeInputs', depth_dtype='uint8', caption='a photo of a {}')]
train_dataloader = dict(dataset=dict(captions='captions.json', pipeline=train_pipeline))
