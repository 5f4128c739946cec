"""Align a CLIP of the second edition of the objects, with 22 classes, to depth views of them and of CAD models.

    python tools/train.py configs/opendlign_tiny_second.py --cfg-options data_root=DIR clip=CLIP.safetensors
    python tools/test.py configs/opendlign_tiny_second.py work_dirs/opendlign_tiny_second/epoch_10.pth \
        --cfg-options data_root=DIR clip=CLIP.safetensors

tools/analysis_tools/train_tiny_clip.py --edition 2 trains such a CLIP; the libraries of CAD models are those of
opendlign_tiny_sweet_home3d.py. Test on the libraries that no training may see:
opendlign_tiny_sweet_home3d.py --cfg-options model.backbone.pretrained=CLIP.safetensors data_root=DIR
"""
_base_ = 'opendlign_tiny.py'

data_root = 'data/sweet_home3d'
clip = 'work_dirs/tiny_clip/second.safetensors'
classes = ('chair', 'table', 'desk', 'bed', 'sofa', 'bookshelf', 'cabinet', 'door', 'window', 'bathtub', 'toilet',
           'sink', 'lamp', 'bottle', 'cup', 'monitor', 'picture', 'counter', 'curtain', 'refrigerator',
           'shower curtain', 'garbage bin')
model = dict(backbone=dict(pretrained=clip))

# Objects in rooms have few points, so half of these lose some. Images show the whole object.
project_and_draw = [
    dict(type='ThinPoints', min_points=100, share=.5),
    dict(type='ProjectPointsToDepth', projection=_base_.projection),
    dict(type='ProjectPointsToDepth', projection=_base_.projection, points_key='complete_points',
         depth_key='complete_depth_views'),
    dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'), depth_key='complete_depth_views')]
four_views = [dict(type='SampleViews', num_views=4), dict(type='PackShapeInputs', depth_dtype='uint8')]
built_in_pipeline = [
    dict(type='DiskCache', transforms=[dict(type='LoadBuiltInShape'), *project_and_draw],
         keys=['depth_views', 'images'], cache_dir=_base_.cache_dir),
    *four_views]
model_pipeline = [
    dict(type='DiskCache',
         transforms=[dict(type='LoadShapePoints', num_points=20_000),
                     dict(type='VaryShape', num_points=4000, scan_like=.5), *project_and_draw],
         keys=['depth_views', 'images'], cache_dir=_base_.cache_dir),
    *four_views]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        ignore_keys=['benchmark'],
        datasets=[
            dict(type='BuiltInShapes', split='train', num_per_category=80, scan_like=.5, edition=2,
                 pipeline=built_in_pipeline),
            dict(type='SweetHome3D', data_root=data_root, libraries=('Scopia', 'KatorLegaz', 'Reallusion'), copies=4,
                 metainfo=dict(classes=classes), pipeline=model_pipeline)]))
test_dataloader = dict(dataset=dict(edition=2))
