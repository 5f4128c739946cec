"""Align the packaged CLIP on 22 classes, with CAD models of furniture: this made the packaged demonstration weights.

    python tools/train.py configs/opendlign_tiny_furniture.py --cfg-options data_root=DIR
    python tools/test.py configs/opendlign_tiny_furniture.py work_dirs/opendlign_tiny_furniture/epoch_8.pth \
        --cfg-options data_root=DIR

DIR has the libraries of opendlign_tiny_sweet_home3d.py, which tests on those that no training may see. Another CLIP of
tools/analysis_tools/train_tiny_clip.py: --cfg-options clip=CLIP.safetensors
"""
_base_ = 'opendlign_tiny.py'

data_root = 'data/sweet_home3d'
clip = 'builtin'
classes = ('chair', 'table', 'desk', 'bed', 'sofa', 'bookshelf', 'cabinet', 'door', 'window', 'bathtub', 'toilet',
           'sink', 'lamp', 'bottle', 'cup', 'monitor', 'picture', 'counter', 'curtain', 'refrigerator',
           'shower curtain', 'garbage bin')
model = dict(backbone=dict(pretrained=clip))

model_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadShapePoints', num_points=20_000),
            dict(type='VaryShape', num_points=4000, scan_like=.5),
            dict(type='ProjectPointsToDepth', projection=_base_.projection),
            dict(type='ProjectPointsToDepth', projection=_base_.projection, points_key='complete_points',
                 depth_key='complete_depth_views'),
            dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'),
                 depth_key='complete_depth_views')],
        keys=['depth_views', 'images'],
        cache_dir=_base_.cache_dir),
    dict(type='SampleViews', num_views=4),
    dict(type='PackShapeInputs', depth_dtype='uint8')]
train_cfg = dict(max_epochs=8)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        ignore_keys=['benchmark'],
        datasets=[
            dict(type='BuiltInShapes', split='train', num_per_category=100, scan_like=.5, edition=2,
                 pipeline=_base_.train_pipeline),
            dict(type='SweetHome3D', data_root=data_root, libraries=('Scopia', 'KatorLegaz', 'Reallusion'), copies=8,
                 metainfo=dict(classes=classes), pipeline=model_pipeline)]))
test_dataloader = dict(dataset=dict(edition=2))
