"""Points of one depth image, with the colors of an image of the same view."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .array_files import RawCloud

# Depths that differ by more than this share from a neighboring pixel are at an edge, where cameras measure in between.
EDGE = .05


@dataclass(frozen=True)
class RGBDFrame:
    """Depth image with what is needed to make points of it.

    Attributes:
        depth: (H, W), numbers; 0, NaN and infinite where nothing was measured.
        intrinsics: (3, 3), of the depth camera.
        color: uint8 (h, w, 3), RGB, which shows the same as the depth image, or None.
        pose: (4, 4), camera to world; None: points are in the frame of the camera: x right, y down, z forward.
        depth_scale: Values of ``depth`` per meter.
        color_intrinsics: (3, 3), of the color camera, if it differs from the depth camera but for the size.
        drop_edges: Whether pixels at an edge of depth are left out.
    """

    depth: np.ndarray
    intrinsics: np.ndarray
    color: np.ndarray | None = None
    pose: np.ndarray | None = None
    depth_scale: float = 1000.
    color_intrinsics: np.ndarray | None = None
    drop_edges: bool = True

    def points(self, max_pixels: int | None = None) -> RawCloud:
        """Return the points and colors of the pixels that were measured, float64 in meters.

        Args:
            max_pixels: Number of pixels above which only every second, third, ... row and column is taken.

        Raises:
            ValueError: The image, the intrinsics, the colors or the pose are of another kind.
        """
        points, *pixels = self._unprojected(max_pixels)
        return RawCloud(points, self._colors(*pixels))

    def labeled_points(self, labels: np.ndarray) -> tuple[RawCloud, np.ndarray]:
        """Return the points and colors of all pixels that were measured, and their labels.

        Args:
            labels: Integers (h, w), an image that shows the same as the color image, in its size, or as the depth
                image, if the colors have no intrinsics of their own.

        Returns:
            Points and colors as of :meth:`points`, and labels (N,).

        Raises:
            ValueError: The images, the intrinsics or the pose are of another kind.
        """
        labels = np.asarray(labels)
        if labels.ndim != 2 or labels.dtype.kind not in 'iu':
            raise ValueError(f'an image of labels must be integers (h, w), got {labels.dtype} {labels.shape}')
        if self.color is not None and self.color_intrinsics is not None and labels.shape != self.color.shape[:2]:
            raise ValueError(f'labels must have the size of the color image, {self.color.shape[:2]}, got '
                             f'{labels.shape}')
        points, *pixels = self._unprojected(None)
        return RawCloud(points, self._colors(*pixels)), labels[self._places(labels.shape, *pixels)]

    def _unprojected(self, max_pixels: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return points (N, 3), rays of the camera (N, 3), and rows and columns (N,) of the measured pixels."""
        depth = np.asarray(self.depth)
        if depth.ndim != 2 or depth.dtype.kind not in 'iuf':
            raise ValueError(f'a depth image must be numbers (H, W), got {depth.dtype} {depth.shape}')
        if self.depth_scale <= 0:
            raise ValueError(f'depth_scale must be positive, got {self.depth_scale}')
        fx, fy, cx, cy = _focal(self.intrinsics)
        meters = depth.astype(np.float64) / self.depth_scale
        measured = _measured(meters, self.drop_edges) & ((depth != 65535) if depth.dtype == np.uint16 else True)
        step = 1 if max_pixels is None else int(np.ceil(np.sqrt(depth.size / max_pixels)))
        rows, columns = np.nonzero(measured[::step, ::step])
        rows, columns = rows * step, columns * step
        z = meters[rows, columns]
        rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(len(z))], axis=1)
        points = rays * z[:, None]
        if self.pose is not None:
            pose = np.asarray(self.pose, dtype=np.float64)
            if pose.shape != (4, 4) or not np.isfinite(pose).all():
                raise ValueError('a pose must be a finite 4 x 4 matrix')
            points = points @ pose[:3, :3].T + pose[:3, 3]
        return points, rays, rows, columns

    def _colors(self, rays: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
        if self.color is None:
            return None
        color = np.asarray(self.color)
        if color.ndim != 3 or color.shape[2] != 3 or color.dtype != np.uint8:
            raise ValueError(f'a color image must be uint8 (h, w, 3), got {color.dtype} {color.shape}')
        return color[self._places(color.shape[:2], rays, rows, columns)]

    def _places(self, size: tuple[int, ...], rays: np.ndarray, rows: np.ndarray,
                columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and columns (N,) in an image of ``size`` (h, w) of the color camera."""
        height, width = np.asarray(self.depth).shape
        if self.color_intrinsics is not None:
            fx, fy, cx, cy = _focal(self.color_intrinsics)
            u, v = rays[:, 0] * fx + cx, rays[:, 1] * fy + cy
        else:
            u = (columns + .5) * size[1] / width - .5
            v = (rows + .5) * size[0] / height - .5
        u = np.clip(np.rint(u), 0, size[1] - 1).astype(int)
        v = np.clip(np.rint(v), 0, size[0] - 1).astype(int)
        return v, u


def _measured(depth: np.ndarray, drop_edges: bool) -> np.ndarray:
    """Return where a depth image, float (H, W), has a value, which may not be at an edge, bool (H, W)."""
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0)
    measured = depth > 0
    for axis in (0, 1) if drop_edges else ():
        first, second = (np.moveaxis(depth, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        nearer = np.minimum(first, second)
        jumps = (np.abs(first - second) > EDGE * nearer) & (nearer > 0)
        view = np.moveaxis(measured, axis, 0)
        view[:-1] &= ~jumps
        view[1:] &= ~jumps
    return measured


def _focal(matrix: np.ndarray) -> tuple[float, float, float, float]:
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise ValueError('intrinsics must be a finite 3 x 3 matrix with positive focal lengths')
    return matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
