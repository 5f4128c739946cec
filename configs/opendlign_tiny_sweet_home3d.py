"""The packaged demonstration model on CAD models that it never saw: --cfg-options data_root=DIR.

The libraries of furniture of Sweet Home 3D are the Debian package sweethome3d-furniture:

    apt-get download sweethome3d-furniture && dpkg-deb -x sweethome3d-furniture_*.deb sweet_home
    python tools/test.py configs/opendlign_tiny_sweet_home3d.py opendlign_mm/assets/opendlign_tiny.safetensors \
        --cfg-options data_root=sweet_home/usr/share/sweethome3d/furniture
"""
_base_ = 'opendlign_tiny.py'

data_root = 'data/sweet_home3d'
# The classes of the procedural objects; without metainfo all 22 of the dataset.
classes = ('chair', 'table', 'desk', 'bed', 'sofa', 'bookshelf', 'cabinet', 'door', 'window', 'bathtub', 'toilet',
           'sink', 'lamp', 'bottle', 'cup', 'monitor')
test_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadShapePoints', num_points=4000),
            dict(type='ProjectPointsToDepth', projection=_base_.projection)],
        keys=['depth_views'],
        cache_dir=_base_.cache_dir),
    dict(type='PackShapeInputs', depth_dtype='uint8')]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SweetHome3D',
        data_root=data_root,
        libraries=('BlendSwap-CC-0', 'BlendSwap-CC-BY'),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=test_pipeline))
