"""Stores of noise, made without projection or generator: objects whose every pixel is known."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opendlign_mm.datasets.store import PackedShape, ShapeStore, encode_image


def noise_shape(sample_id: str, views: int = 2, size: int = 32, images: bool = True, seed: int = 0) -> PackedShape:
    """Return an object of gray noise as depth views and colored noise as images."""
    generator = np.random.default_rng((seed, *sample_id.encode('utf-8', 'surrogatepass')))
    depth = generator.integers(0, 256, (views, size, size), dtype=np.uint8)
    colored = generator.integers(0, 256, (views, size, size, 3), dtype=np.uint8) if images else []
    metadata = dict(sample_id=sample_id, text=f'text of {sample_id}', category='thing')
    if images:
        metadata['seeds'] = list(range(views))
    return PackedShape(metadata, [encode_image(view) for view in depth], [encode_image(view) for view in colored])


def noise_store(root: Path, names: Sequence[str] = 'abcdef', shapes_per_shard: int = 2, layout: str = 'shards',
                seed: int = 0, **options) -> ShapeStore:
    """Write a store of :func:`noise_shape`."""
    store = ShapeStore.create(root, layout, len(names), shapes_per_shard, {})
    for shard in range(store.num_shards):
        store.write(shard, [noise_shape(names[index], seed=seed, **options) for index in store.indices(shard)])
    return store
