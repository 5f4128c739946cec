"""Table 5, depth-rendCAD, of the demonstration model: opendlign_tiny.py on renderings of the built-in objects.

    python tools/train.py configs/alignment/tiny_depth_rendcad.py
    python tools/test.py configs/alignment/tiny_depth_rendcad.py work_dirs/tiny_depth_rendcad/epoch_10.pth
"""
_base_ = '../opendlign_tiny.py'

cache_dir = 'work_dirs/cache'
projection = _base_.projection
train_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadBuiltInShape'),
            dict(type='ProjectPointsToDepth', projection=projection),
            dict(type='RenderImages', projection=projection, points_key='complete_points')],
        keys=['depth_views', 'images'],
        cache_dir=cache_dir),
    dict(type='SampleViews', num_views=4),
    dict(type='PackShapeInputs', depth_dtype='uint8')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
