"""Points of shapes as the point encoders take them: arranged, augmented, and packed with texts and images."""
import zlib
from typing import Any, Literal

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from ...structures import ShapeDataSample

Layout = Literal['z_up', 'z_up_mirrored', 'y_up']
LAYOUTS = ('z_up', 'z_up_mirrored', 'y_up')
GRAY = 102  # 0.4, the color of points without colors in OpenShape and TAMM


@TRANSFORMS.register_module()
class ArrangePoints(BaseTransform):
    """Transform that brings points to the axes and the size that a point encoder was trained with.

    Required keys:
        points: float tensor (N, 3), z up, as the loading transforms give them.

    Changed keys:
        points: float32 (N, 3).

    Args:
        layout: ``'z_up'``: unchanged. ``'y_up'``: rotated, as ULIP and OpenShape's models for ViT-L-14 and ViT-B-32
            take them. ``'z_up_mirrored'``: as OpenShape's and TAMM's models for ViT-bigG-14 take them. Their loader
            swaps y and z of files with y up, which is a mirror, not a rotation: of z-up points it negates y.
        normalize: Whether to center the points on their mean and scale them into the unit ball.

    Raises:
        ValueError: There is no such layout.
    """

    def __init__(self, layout: Layout = 'z_up_mirrored', normalize: bool = True) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f'layout must be one of {LAYOUTS}, got {layout!r}')
        self.layout, self.normalize = layout, normalize

    def transform(self, results: dict) -> dict:
        """Arrange ``points``."""
        points = results['points']
        if self.layout == 'y_up':
            points = torch.stack((points[:, 0], points[:, 2], -points[:, 1]), dim=1)
        elif self.layout == 'z_up_mirrored':
            points = points * points.new_tensor([1., -1., 1.])
        if self.normalize:
            points = points - points.mean(dim=0)
            radius = points.norm(dim=1).max()
            points = points / radius if radius > 1e-6 else torch.zeros_like(points)
        results['points'] = points.float()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(layout={self.layout!r}, normalize={self.normalize})'


@TRANSFORMS.register_module()
class AugmentPoints(BaseTransform):
    """Transform that augments points as ULIP, OpenShape and TAMM do, in their order.

    A share of the points, uniform up to ``dropout``, takes the place of the first point; the cloud is scaled, shifted
    along each axis, tilted by small angles about the three axes, and rotated about the upward axis.

    Required keys:
        points: float32 tensor (N, 3).
    Optional keys:
        colors: uint8 array (N, 3).

    Args:
        up_axis: 'z' or 'y', the axis of the last rotation, which :class:`ArrangePoints` has made upward.
        dropout: Largest share of dropped points, in [0, 1).
        scale: Smallest and largest factor.
        shift: Largest shift along an axis, in units of the points.
        tilt: Standard deviation of the small angles in radians.
        max_tilt: Largest of the small angles in radians.
        rotate: Whether to rotate about the upward axis.
        color_dropout: Probability that all colors become gray 0.4; OpenShape and TAMM 0.5.
    """

    def __init__(self, up_axis: Literal['z', 'y'] = 'z', dropout: float = .875, scale: tuple[float, float] = (.8, 1.25),
                 shift: float = .1, tilt: float = .06, max_tilt: float = .18, rotate: bool = True,
                 color_dropout: float = 0.) -> None:
        if up_axis not in ('y', 'z'):
            raise ValueError(f"up_axis must be 'y' or 'z', got {up_axis!r}")
        if not 0 <= dropout < 1 or not 0 <= color_dropout <= 1 or not 0 < scale[0] <= scale[1]:
            raise ValueError('dropout must lie in [0, 1), color_dropout in [0, 1] and scale be two positive factors, '
                             f'got {dropout}, {color_dropout} and {scale}')
        self.up_axis, self.dropout, self.scale, self.shift = up_axis, dropout, tuple(scale), shift
        self.tilt, self.max_tilt, self.rotate, self.color_dropout = tilt, max_tilt, rotate, color_dropout

    def transform(self, results: dict) -> dict:
        """Augment ``points`` and ``colors``."""
        points, colors = results['points'].numpy(), results.get('colors')
        dropped = np.random.random(len(points)) <= np.random.random() * self.dropout
        points = np.where(dropped[:, None], points[:1], points)
        points = points * np.random.uniform(*self.scale) + np.random.uniform(-self.shift, self.shift, 3)
        angles = np.clip(self.tilt * np.random.standard_normal(3), -self.max_tilt, self.max_tilt)
        turn = _rotation(2, angles[2]) @ _rotation(1, angles[1]) @ _rotation(0, angles[0])
        if self.rotate:
            turn = _rotation('xyz'.index(self.up_axis), np.random.uniform(0, 2 * np.pi)) @ turn
        results['points'] = torch.from_numpy((points @ turn.T).astype(np.float32))
        if colors is not None and np.random.random() < self.color_dropout:
            results['colors'] = np.full_like(colors, GRAY)
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(up_axis={self.up_axis!r}, dropout={self.dropout}, scale={self.scale}, '
                f'shift={self.shift}, tilt={self.tilt}, max_tilt={self.max_tilt}, rotate={self.rotate}, '
                f'color_dropout={self.color_dropout})')


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Return the matrix of a rotation about axis 0, 1 or 2 by an angle in radians."""
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


@TRANSFORMS.register_module()
class PackPointInputs(BaseTransform):
    """Transform that packs the points of one object and what it is aligned with for ``TriModalAligner``.

    Required keys:
        points: float tensor (N, 3).
    Optional keys:
        colors: uint8 array (N, 3).
        images: uint8 array (P, H, W, 3), or ``image_features``: float array (P, D).
        text_features: float array (D,); None for an object without a text.
        text: str, for models that encode texts themselves.
        gt_label, sample_id, category: As for :class:`PackShapeInputs`.

    The result is ``dict(inputs=dict(points=float32 (N, 3), colors=uint8 (N, 3), ...), data_samples=ShapeDataSample)``.

    Args:
        num_points: Number of points N, drawn from those of the object, with replacement where it has fewer; None takes
            all. Which ones depends on ``sample_id`` alone.
        use_colors: Whether to pack colors. Objects without colors get gray 0.4, as in OpenShape.
        num_images: Number of images or image features, a random choice in each epoch; None takes all.
        text: Template with ``{}`` of the text of an object without one, filled with its ``category``. None: no text.
        images: Key of the images; with ``'depth_views'``, float (P, H, W) in [0, 1], gray renderings take their place.

    Raises:
        ValueError: An input is absent or has another shape; the message names the object.
    """

    def __init__(self, num_points: int | None = None, use_colors: bool = True, num_images: int | None = None,
                 text: str | None = None, images: Literal['images', 'depth_views'] = 'images') -> None:
        for name, value in (('num_points', num_points), ('num_images', num_images)):
            if value is not None and value < 1:
                raise ValueError(f'{name} must be >= 1 or None, got {value}')
        if text is not None and '{}' not in text:
            raise ValueError(f"the text {text!r} has no '{{}}' for the category")
        if images not in ('images', 'depth_views'):
            raise ValueError(f"images must be 'images' or 'depth_views', got {images!r}")
        self.num_points, self.use_colors, self.num_images = num_points, use_colors, num_images
        self.text, self.images = text, images

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        name, points = results.get('sample_id', 'the object'), results.get('points')
        if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != 3 or not len(points):
            raise ValueError(f"{name}: 'points' must be a tensor (N, 3), got {_shape(points)}; put a loading transform "
                             'before PackPointInputs')
        chosen = self._chosen(len(points), str(name))
        inputs = dict(points=points.float()[chosen].contiguous())
        if self.use_colors:
            colors = results.get('colors')
            colors = np.full((len(points), 3), GRAY, dtype=np.uint8) if colors is None else colors
            if colors.shape != tuple(points.shape) or colors.dtype != np.uint8:
                raise ValueError(f"{name}: 'colors' must be uint8 {tuple(points.shape)}, got {_shape(colors)}")
            inputs['colors'] = torch.from_numpy(np.ascontiguousarray(colors[chosen.numpy()]))
        self._add_images(inputs, results, name)
        if 'text_features' in results:
            text = results['text_features']
            if text is None and 'image_features' not in inputs:
                raise ValueError(f'{name} has neither a text nor image features')
            inputs['has_text'] = torch.tensor(text is not None)
            inputs['text_features'] = (torch.zeros(inputs['image_features'].shape[1]) if text is None
                                       else torch.as_tensor(np.asarray(text, dtype=np.float32).reshape(-1)))
        about = {key: results[key] for key in ('sample_id', 'category', 'text') if results.get(key) is not None}
        if self.text is not None and 'category' in about:
            about.setdefault('text', self.text.replace('{}', about['category'].replace('_', ' ')))
        sample = ShapeDataSample(metainfo=about)
        if 'gt_label' in results:
            sample.set_gt_label(results['gt_label'])
        return dict(inputs=inputs, data_samples=sample)

    def _chosen(self, count: int, name: str) -> Tensor:
        if self.num_points is None or self.num_points == count:
            return torch.arange(count)
        random = np.random.default_rng(zlib.crc32(name.encode(errors='surrogatepass')))
        return torch.from_numpy(random.choice(count, self.num_points, replace=count < self.num_points))

    def _add_images(self, inputs: dict, results: dict, name: str) -> None:
        for key, ndim in (('images', 4), ('image_features', 2)):
            source = self.images if key == 'images' else key
            if source not in results:
                continue
            values = np.asarray(results[source])
            if source == 'depth_views':
                values = np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=-1)
            if values.ndim != ndim or not len(values):
                raise ValueError(f"{name}: '{key}' must have {ndim} dimensions, got {_shape(values)}")
            if self.num_images is not None:
                values = values[np.random.choice(len(values), self.num_images, replace=len(values) < self.num_images)]
            values = values.transpose(0, 3, 1, 2) if key == 'images' else values.astype(np.float32)
            inputs[key] = torch.from_numpy(np.ascontiguousarray(values))

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_points={self.num_points}, use_colors={self.use_colors}, '
                f'num_images={self.num_images}, text={self.text!r}, images={self.images!r})')


def _shape(value: Any) -> str:
    return f'{value.dtype} {tuple(value.shape)}' if hasattr(value, 'shape') else repr(type(value).__name__)
