"""3DETR-m: masked encoder and eight decoder layers, shared by ScanNet and SUN RGB-D."""
model = dict(
    type='ThreeDETR',
    set_abstraction=dict(num_points=2048, radius=0.2, num_samples=64, channels=(64, 128, 256)),
    encoder=dict(
        num_layers=3,
        num_heads=4,
        feedforward_channels=128,
        # In meters: the release compares plain distances with the squares of 0.4, 0.8 and 1.2.
        masking_radii=(0.16, 0.64, 1.44),
        downsampling=dict(num_points=1024, radius=0.4, num_samples=32, channels=(256, 256, 256))),
    memory_layers=2,
    decoder=dict(num_layers=8, num_heads=4, feedforward_channels=256, dropout=0.1),
    selection=dict(min_points=5, objectness_threshold=0.05, nms_threshold=0.25))
