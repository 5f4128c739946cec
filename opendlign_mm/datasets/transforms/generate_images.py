"""Generation of depth-aligned images from depth views inside a pipeline."""
import zlib
from collections.abc import Callable

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import MODELS, TRANSFORMS


@TRANSFORMS.register_module()
class GenerateImages(BaseTransform):
    """Transform that makes an image of each depth view with a generator.

    The images of an object depend on its ``sample_id`` and ``seed`` alone, not on when or where they are made.

    Required keys:
        depth_views: float array (V, H, W) in [0, 1].
        sample_id: str.
    Optional keys:
        colors: uint8 array (N, 3), RGB of the object's points; two of them become the object's main colors.

    Added keys:
        images: uint8 array (V, H, W, 3), RGB.

    Args:
        generator: Registry config of the generator, or a callable ``(depth_views (V, H, W), seeds, colors) -> uint8
            (V, H, W, 3)`` such as ``ShadedTextureGenerator``.
        depth_key: Key of the depth views that the images follow.
        seed: Seed of the images.

    Raises:
        ValueError: There are no depth views.
    """

    def __init__(self, generator: dict | Callable, depth_key: str = 'depth_views', seed: int = 0) -> None:
        self.generator = MODELS.build(generator) if isinstance(generator, dict) else generator
        self.depth_key = depth_key
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Add ``images`` to ``results``."""
        if self.depth_key not in results:
            raise ValueError(f"GenerateImages needs '{self.depth_key}'; put ProjectPointsToDepth before it")
        depth_views = torch.from_numpy(results[self.depth_key])
        seeds = [zlib.crc32(f'{self.seed}:{results["sample_id"]}:{view}'.encode()) for view in range(len(depth_views))]
        colors = results.get('colors')
        if colors is not None:
            pair = colors[np.random.default_rng(seeds[0]).integers(0, len(colors), 2)]
            colors = np.broadcast_to(pair, (len(depth_views), 2, 3))
        results['images'] = self.generator(depth_views, seeds, colors).numpy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(generator={self.generator!r}, depth_key={self.depth_key!r}, seed={self.seed})'
