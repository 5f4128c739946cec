"""Contour-aware projection: point clouds to multi-view depth maps with sharp contours (OpenDlign, section 3.1)."""
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from .numba_backend import project_numba
from .torch_backends import project_batched, project_dense
from .triton_backend import project_triton
from .views import (
    VoxelizedPoints,
    check_finite,
    checked_angles,
    checked_clouds,
    checked_elevation,
    normalized_if_needed,
    number_between,
    odd_number,
    view_axes,
    voxelize,
    whole_number,
)

Backend = Literal['auto', 'dense', 'numba', 'cuda', 'triton']


class ContourAwareProjection:
    """Project point clouds to depth views in four steps: quantize, densify, smooth, squeeze.

    The depth maps are invariant to the order, duplication, scale and position of the points. Rotating the object by the
    step between two views shifts the views by one. Any number of views may be seen from any sides and heights, such as
    two rings of five: ``view_angles=[*range(0, 360, 72)] * 2, elevation=[10] * 5 + [45] * 5``. Models were aligned with
    the defaults.

    Args:
        resolution: Height and width H = W of a depth map in pixels.
        depth_bins: Voxels B along the viewing direction.
        densify_kernel: Odd side of the cube over which a voxel takes the maximum (step 2).
        smooth_kernel: Odd side of the bilateral filter's cube (step 3; OpenDlign, equation 1).
        sigma_space: Spatial sigma of the bilateral filter in voxels (sigma_1 of the paper).
        sigma_intensity: Intensity sigma of the bilateral filter in units of depth value (sigma_2 of the paper).
        view_angles: Azimuth of each view about the vertical axis in degrees; default 30, 60, ..., 300.
        elevation: Height of the camera above the horizon in degrees, in (-90, 90): of all views, or one for each.
        object_ratio: Share of the frame that the object's longest side fills, in (0, 1].
        depth_bias: Offset b >= 0 of the depth values: nearness z in [0, 1] becomes (z + b) / (1 + b), so that the far
            side does not fade into the white background.
        backend: Implementation: 'dense' (reference, any device), 'numba' (CPU tensors), 'cuda' (PyTorch, for CUDA
            tensors), 'triton' (for CUDA tensors, whole batches at once) or 'auto' ('numba' for CPU tensors, 'triton'
            for CUDA tensors where the package is installed, 'cuda' for others).

    Raises:
        ValueError: An argument is outside its range; the message names it.
    """

    def __init__(self,
                 resolution: int = 224,
                 depth_bins: int = 64,
                 densify_kernel: int = 7,
                 smooth_kernel: int = 5,
                 sigma_space: float = 1.5,
                 sigma_intensity: float = .1,
                 view_angles: Sequence[float] = tuple(range(30, 330, 30)),
                 elevation: float | Sequence[float] = 20.,
                 object_ratio: float = .8,
                 depth_bias: float = .2,
                 backend: Backend = 'auto') -> None:
        self.resolution = whole_number('resolution', resolution, 1)
        self.depth_bins = whole_number('depth_bins', depth_bins, 1)
        self.densify_kernel = odd_number('densify_kernel', densify_kernel)
        self.smooth_kernel = odd_number('smooth_kernel', smooth_kernel)
        self.sigma_space = number_between('sigma_space', sigma_space, 0, float('inf'))
        self.sigma_intensity = number_between('sigma_intensity', sigma_intensity, 0, float('inf'))
        self.view_angles = checked_angles(view_angles)
        self.elevation = checked_elevation(elevation, len(self.view_angles))
        self.object_ratio = number_between('object_ratio', object_ratio, 0, 1, include_high=True)
        self.depth_bias = number_between('depth_bias', depth_bias, 0, float('inf'), include_low=True)
        if backend not in get_args(Backend):
            raise ValueError(f'backend must be one of {get_args(Backend)}, got {backend!r}')
        self.backend = backend

    @property
    def num_views(self) -> int:
        """Number V of depth maps per cloud."""
        return len(self.view_angles)

    def __call__(self, points: Tensor | list[Tensor]) -> Tensor:
        """Project a batch of clouds.

        Args:
            points: (B, N, 3) float tensor, z up, or a list of B tensors (N_i, 3), at any place and scale: clouds in map
                coordinates are centered in the precision in which they are given. An empty cloud has white views.

        Returns:
            (B, V, H, W) float32 in [0, 1] on the device of the input: background 1.0, the nearest surface 0.0.

        Raises:
            TypeError: ``points`` is not a tensor or a list of tensors.
            ValueError: A cloud has another shape than (N, 3), or non-finite coordinates, which the message counts; the
                clouds are on several devices, or the backend does not support their device.
            ImportError: The backend is 'triton' and the package triton is missing.
        """
        clouds = checked_clouds(points, finite=False)
        if not clouds:
            device = points.device if isinstance(points, Tensor) else None
            return torch.ones(0, self.num_views, self.resolution, self.resolution, device=device)
        device = clouds[0].device
        backend = self.backend_for(device)
        if backend != 'triton':  # which looks for them without another wait for the GPU
            check_finite(clouds)
        axes = view_axes(self.view_angles, self.elevation, device)
        views = iter(self._project(clouds, axes, backend))
        blank = torch.ones(self.num_views, self.resolution, self.resolution, device=device)
        depth_views = torch.stack([next(views) if len(cloud) else blank for cloud in clouds])
        return depth_views.clamp_(0, 1)  # a weighted mean of values up to 1 may round to a little more

    def _project(self, clouds: list[Tensor], axes: tuple[Tensor, Tensor, Tensor], backend: str) -> Iterable[Tensor]:
        """Return the depth views (V, H, W) of each cloud that is not empty."""
        used = [cloud for cloud in clouds if len(cloud)]
        if not used:
            return ()
        settings = (self.resolution, self.depth_bins, self.densify_kernel, self.smooth_kernel, self.sigma_space,
                    self.sigma_intensity)
        if backend == 'numba':
            one_view = list(zip(*(axis.split(1) for axis in axes), strict=True))
            views = [partial(self._voxelize, cloud, view) for cloud in map(normalized_if_needed, used)
                     for view in one_view]
            return project_numba(views, *settings).split(len(one_view))
        if backend == 'triton':
            return project_triton(used, partial(self._voxelize, axes=axes), partial(check_finite, clouds),
                                  self.num_views, *settings)
        project = project_dense if backend == 'dense' else project_batched
        return (project(self._voxelize(cloud, axes), *settings) for cloud in used)

    def _voxelize(self, cloud: Tensor, axes: tuple[Tensor, Tensor, Tensor]) -> VoxelizedPoints:
        return voxelize(cloud, axes, self.resolution, self.depth_bins, self.object_ratio, self.depth_bias)

    def backend_for(self, device: torch.device) -> str:
        """Return the implementation, ``'dense'``, ``'numba'``, ``'cuda'`` or ``'triton'``, for clouds on a device.

        Raises:
            ValueError: The backend does not support the device.
            ImportError: The backend is 'triton' and the package triton is missing.
        """
        if self.backend == 'auto':
            if device.type == 'cuda' and find_spec('triton') is not None:
                return 'triton'
            return 'numba' if device.type == 'cpu' else 'cuda'
        if self.backend == 'numba' and device.type != 'cpu':
            raise ValueError(f"backend 'numba' needs CPU tensors, the points are on {device}; use 'auto' or 'cuda'")
        if self.backend in ('cuda', 'triton') and device.type != 'cuda':
            raise ValueError(f"backend {self.backend!r} needs CUDA tensors, the points are on {device}; use 'auto' or "
                             "'numba'")
        if self.backend == 'triton' and find_spec('triton') is None:
            raise ImportError("backend 'triton' needs the package triton: pip install triton, or use 'auto'")
        return self.backend

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({arguments})'
