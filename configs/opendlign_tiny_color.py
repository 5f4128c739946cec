"""The demonstration model on color views of the built-in objects beside their depth views. Nothing is trained here.

    python tools/test.py configs/opendlign_tiny_color.py opendlign_mm/assets/opendlign_tiny.safetensors

Color views alone, or depth views alone: --cfg-options model.views=color
Color views are photos: the pretrained branch encodes them, with prompts of photos.
"""
_base_ = 'opendlign_tiny.py'

model = dict(views='both')

projection = _base_.projection
test_dataloader = dict(dataset=dict(pipeline=[
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadBuiltInShape'),
            dict(type='ProjectPointsToDepth', projection=projection),
            dict(type='ProjectPointsToColor', projection=projection)],
        keys=['depth_views', 'color_views', 'has_color'],
        cache_dir=_base_.cache_dir),
    dict(type='PackShapeInputs', depth_dtype='uint8')]))
