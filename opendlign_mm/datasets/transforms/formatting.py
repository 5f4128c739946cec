"""Select views and pack a shape for the models."""
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...structures import STORED_TOKENS, ShapeDataSample
from ..shape_dataset import spoken
from .coloring import as_tensors

# Entries that have an item for each view.
OF_VIEWS = ('depth_views', 'color_views', 'images', 'image_features', *STORED_TOKENS)


@TRANSFORMS.register_module()
class SampleViews(BaseTransform):
    """Transform that keeps a random choice of views, the same for depth views and images, in their order.

    An object's feature is the mean over its views (OpenDlign, section 3.2), so fewer views make a noisier but cheaper
    step; over the epochs all are seen.

    Required keys:
        depth_views: array (V, H, W).
    Optional keys:
        color_views, images: arrays (V, H, W, 3).
        image_features: array (V, D).
        depth_tokens, depth_pretrained: stored tokens (V, ...), the former in the place of ``depth_views``.

    Args:
        num_views: Number of views to keep, 1 <= num_views <= V.

    Raises:
        ValueError: There are fewer views than ``num_views``.
    """

    def __init__(self, num_views: int) -> None:
        if num_views < 1:
            raise ValueError(f'num_views must be >= 1, got {num_views}')
        self.num_views = num_views

    def transform(self, results: dict) -> dict:
        """Reduce ``depth_views`` and what belongs to them."""
        available = _num_views(results)
        if available < self.num_views:
            raise ValueError(f'SampleViews(num_views={self.num_views}) got only {available} depth views')
        kept = np.sort(np.random.choice(available, self.num_views, replace=False))
        for key in OF_VIEWS:
            if key in results:
                results[key] = results[key][kept]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_views={self.num_views})'


@TRANSFORMS.register_module()
class SelectViews(BaseTransform):
    """Transform that keeps a fixed choice of views (OpenDlign, table 11), the same for depth views and images.

    The paper does not say which views its rows with fewer than ten keep; evenly spaced ones are the default here.

    Required keys:
        depth_views: array (V, H, W).
    Optional keys:
        color_views, images: arrays (V, H, W, 3).
        image_features: array (V, D).
        depth_tokens, depth_pretrained: stored tokens (V, ...), the former in the place of ``depth_views``.

    Args:
        num_views: Number n of views: those at floor(i V / n), i = 0 .. n - 1, which are evenly spaced from the first.
        indices: The views themselves, from 0, in the order in which they are kept; instead of ``num_views``.

    Raises:
        ValueError: Not exactly one of both is given, a view is named twice, or an object lacks one of the views.
    """

    def __init__(self, num_views: int | None = None, indices: Sequence[int] | None = None) -> None:
        if (num_views is None) == (indices is None):
            raise ValueError(f'give either num_views or indices, got {num_views} and {indices}')
        if num_views is not None and num_views < 1:
            raise ValueError(f'num_views must be >= 1, got {num_views}')
        self.num_views, self.indices = num_views, None if indices is None else [int(index) for index in indices]
        if self.indices is not None and (
                not self.indices or min(self.indices) < 0 or len(set(self.indices)) < len(self.indices)):
            raise ValueError(f'indices must be different views, counted from 0, got {indices}')

    def transform(self, results: dict) -> dict:
        """Reduce ``depth_views`` and what belongs to them."""
        available = _num_views(results)
        kept = self.indices or [index * available // self.num_views for index in range(self.num_views)]
        if max(kept) >= available or len(kept) > available:
            raise ValueError(f'{self} got only {available} depth views')
        for key in OF_VIEWS:
            if key in results:
                results[key] = results[key][kept]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_views={self.num_views}, indices={self.indices})'


@TRANSFORMS.register_module()
class PackShapeInputs(BaseTransform):
    """Transform that packs depth views, images and the label of one object for ``OpenDlign``.

    Required keys:
        depth_views: float array (V, H, W) in [0, 1], or (V, 3, H, W) for views in color.
    Optional keys:
        color_views: uint8 array (V, H, W, 3), RGB, with ``has_color``; see ``ProjectPointsToColor``.
        images: uint8 array (V, H, W, 3), RGB: the depth-aligned images, one for each view.
        image_features: float array (V, D): features of such images by the pretrained branch, in their place.
        depth_tokens, depth_pretrained: stored tokens (V, ...), the former in the place of ``depth_views``.
        gt_label: Index of the class.
        sample_id, category: Meta information of the data sample.
        text: Words about the object, for its caption.

    The result is ``dict(inputs=dict(depth_views=tensor of that shape, images=uint8 tensor (V, 3, H, W)),
    data_samples=ShapeDataSample)``.

    Args:
        depth_dtype: 'float32', or 'uint8': views whose values are whole 255ths, as those of image files and of
            ``DiskCache``, are packed as bytes, a quarter of the memory; others stay float32. The data preprocessor
            divides bytes by 255.
        caption: Template with ``{}`` of the caption, such as ``'a photo of a {}'``, for alignment with texts: the data
            sample gets a ``caption``, the template filled with the object's ``text``, or its ``category`` if it has
            none. None: no caption.

    Raises:
        ValueError: ``depth_views`` is absent, an input has another shape or dtype, or an object has no words for its
            caption; the message names the object.
    """

    def __init__(self, depth_dtype: Literal['float32', 'uint8'] = 'float32', caption: str | None = None) -> None:
        if caption is not None and '{}' not in caption:
            raise ValueError(f"the caption {caption!r} has no '{{}}' for the object's text or category")
        self.caption = caption
        if depth_dtype not in ('float32', 'uint8'):
            raise ValueError(f"depth_dtype must be 'float32' or 'uint8', got {depth_dtype!r}")
        self.depth_dtype = depth_dtype

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        name = results.get('sample_id', 'the object')
        inputs = {key: results[key] for key in STORED_TOKENS if key in results}
        depth_views = results.get('depth_views')
        if inputs:
            depth_views = inputs['depth_tokens']
        elif not isinstance(depth_views, np.ndarray) or depth_views.ndim not in (3, 4):
            raise ValueError(f"{name}: 'depth_views' must be an array (V, H, W), got {_describe(depth_views)}; put "
                             'ProjectPointsToDepth before PackShapeInputs')
        else:
            inputs['depth_views'] = torch.from_numpy(self._packed(depth_views))
        if 'color_views' in results:
            inputs.update(as_tensors(results, name))
        if 'images' in results:
            images = results['images']
            expected = (len(depth_views), *images.shape[1:3], 3) if getattr(images, 'ndim', 0) == 4 else None
            if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != expected:
                raise ValueError(f"{name}: 'images' must be a uint8 array ({len(depth_views)}, H, W, 3), one image for "
                                 f'each depth view, got {_describe(images)}')
            inputs['images'] = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        if 'image_features' in results:
            features = results['image_features']
            if getattr(features, 'ndim', 0) != 2 or len(features) != len(depth_views):
                raise ValueError(f"{name}: 'image_features' must be a float array ({len(depth_views)}, D), got "
                                 f'{_describe(features)}')
            inputs['image_features'] = torch.as_tensor(features, dtype=torch.float32)
        data_sample = ShapeDataSample(
            metainfo={key: results[key] for key in ('sample_id', 'category') if key in results})
        if self.caption is not None:
            words = str(results.get('text') or spoken(results.get('category') or '')).strip()
            if not words:
                raise ValueError(f"{name}: no 'text' or 'category' for the caption {self.caption!r}; give the dataset "
                                 'captions or leave the pairs with texts out')
            data_sample.set_metainfo(dict(caption=self.caption.replace('{}', words)))
        if 'gt_label' in results:
            data_sample.set_gt_label(results['gt_label'])
        return dict(inputs=inputs, data_samples=data_sample)

    def _packed(self, depth_views: np.ndarray) -> np.ndarray:
        views = np.ascontiguousarray(depth_views, dtype=np.float32)
        if self.depth_dtype == 'uint8' and ((views >= 0) & (views <= 1)).all():
            as_bytes = np.rint(views * 255).astype(np.uint8)
            if (as_bytes.astype(np.float32) / 255 == views).all():
                return as_bytes
        return views

    def __repr__(self) -> str:
        return f'{type(self).__name__}(depth_dtype={self.depth_dtype!r}, caption={self.caption!r})'


def _num_views(results: dict) -> int:
    return len(results['depth_tokens'] if 'depth_tokens' in results else results['depth_views'])


def _describe(value: Any) -> str:
    return f'{value.dtype} {tuple(value.shape)}' if hasattr(value, 'shape') else repr(type(value).__name__)
