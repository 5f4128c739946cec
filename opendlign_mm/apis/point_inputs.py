"""Inputs of the inferencers: paths, folders, patterns, arrays and tensors, or lists of these."""
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..point_files.array_files import MAX_POINTS
from ..point_files.shape_files import SHAPE_EXTENSIONS, read_shape


@dataclass
class PointCloud:
    """Points of one input.

    Attributes:
        points: float64 (N, 3), as in the file.
        colors: float32 (N, 3) in [0, 1], or None.
        name: Path or ``'array'``.
        kind: Whether points were given or sampled on a surface.
        up: Axis that points up by the standard of the format, None if it has none.
    """
    points: np.ndarray
    colors: np.ndarray | None
    name: str
    kind: Literal['cloud', 'mesh', 'rgbd'] = 'cloud'
    up: Literal['z', 'y'] | None = None


def list_inputs(inputs: Any) -> list:
    """Return the single inputs that ``inputs`` stands for."""
    if isinstance(inputs, (list, tuple)):
        return [each for source in inputs for each in list_inputs(source)]
    if isinstance(inputs, (str, Path)):
        path = Path(inputs).expanduser()
        if path.is_dir():
            found = sorted(each for each in path.rglob('*') if each.suffix.lower() in SHAPE_EXTENSIONS)
            if not found:
                raise ValueError(f'the folder {path} has no file of points ({", ".join(SHAPE_EXTENSIONS)})')
            return [str(each) for each in found]
        if glob.has_magic(str(path)) and not path.exists():
            names = sorted(glob.glob(str(path), recursive=True))
            if not names:
                raise FileNotFoundError(f'no file matches {inputs}')
            return names
    return [inputs]


def read_points(source: Any, *, dims: int | None = None, max_points: int | None = None) -> PointCloud:
    """Return the points of one input."""
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if path.suffix.lower() == '.bin':
            if dims is None:
                raise ValueError(f'{path}: give dims, the number of values of a point')
            values = np.fromfile(path, dtype=np.float32)
            if not len(values) or len(values) % dims:
                raise ValueError(f'{path} does not hold points of {dims} values')
            return _cloud_of(values.reshape(-1, dims), str(path))
        shape = read_shape(path, max_points)
        colors = None if shape.colors is None else shape.colors.astype(np.float32) / 255
        up = 'y' if path.suffix.lower() in ('.glb', '.gltf') else None
        return PointCloud(shape.points.astype(np.float64) + shape.offset, colors, str(path), up=up)
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().numpy()
    return _cloud_of(np.asarray(source), 'array')


def _cloud_of(values: np.ndarray, name: str) -> PointCloud:
    if values.ndim != 2 or values.shape[1] < 3 or values.dtype.kind not in 'iuf':
        raise ValueError(f'{name}: points must be numbers (N, >=3) with x, y, z first, got {values.dtype} '
                         f'{values.shape}')
    if not 0 < len(values) <= MAX_POINTS:
        raise ValueError(f'{name} has {len(values)} points; there must be from 1 to {MAX_POINTS}')
    bad = int((~np.isfinite(values)).any(axis=1).sum())
    if bad:
        raise ValueError(f'{name}: {bad} of {len(values)} points have values that are NaN or infinite')
    colors = None
    if values.shape[1] >= 6:
        colors = values[:, 3:6].astype(np.float32)
        colors = colors / np.float32(255 if colors.max() > 1 else 1)
    return PointCloud(values[:, :3].astype(np.float64), colors, name)


def sampled(cloud: PointCloud, num_points: int) -> Sequence[np.ndarray | None]:
    """Return points and colors of a cloud, at most ``num_points``, the same choice for the same number of points."""
    if len(cloud.points) <= num_points:
        return cloud.points, cloud.colors
    chosen = np.sort(np.random.default_rng(0).choice(len(cloud.points), num_points, replace=False))
    return cloud.points[chosen], None if cloud.colors is None else cloud.colors[chosen]
