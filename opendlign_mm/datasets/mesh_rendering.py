"""Color renderings of meshes by the cameras of their depth views.

Open3D's ``RaycastingScene`` finds the triangle of each pixel, and the colors are computed here. Open3D comes with
mmdet3d and casts rays on any CPU, in data workers, too. Its offscreen renderer and pyrender's need Vulkan, EGL or
OSMesa of the system, which servers often lack.
"""
import numpy as np
import torch
from torch import Tensor

from ..point_files.surfaces import Surface
from ..projection import ContourAwareProjection, view_axes
from ..projection.views import points_in_views

# Toward the light, along the right, up and toward-the-viewer axes of the camera: over the left shoulder of the viewer.
LIGHT = np.array([-.4, .6, 1.]) / np.linalg.norm([-.4, .6, 1.])
AMBIENT = .45
# Median distance of points from their surface, in half sizes of the cloud, beyond which they belong to something else.
MAX_DISTANCE = .05


def render_views(surface: Surface, points: Tensor, projection: ContourAwareProjection, samples: int = 2,
                 background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """Render a surface by the cameras of the depth views of its points.

    A point of the surface and the point of the cloud at the same place are in the same pixel of both. The surfaces are
    dull and lit from near the camera, on both sides: the orientation of triangles in CAD models cannot be relied on.

    Args:
        surface: The surface, in the frame of the points.
        points: Cloud that the depth views are made of, float (N, 3), N >= 1, z up; its extent decides scale and place
            in each view.
        projection: Projection that makes the depth views.
        samples: Rays along each side of a pixel, whose mean is its color.
        background: RGB where nothing is hit.

    Returns:
        uint8 (V, H, W, 3), RGB.

    Raises:
        ValueError: The points are not on the surface, or a view shows nothing of it.
    """
    cloud = points.double().cpu()
    middle = (cloud.amin(0) + cloud.amax(0)) / 2
    size = float((cloud - middle).abs().amax()) or 1.
    cloud = (cloud - middle) / size  # rays are float32
    corners = (surface.corners - middle.numpy()) / size
    axes = view_axes(projection.view_angles, projection.elevation, cloud.device, torch.float64)
    seen = points_in_views(cloud, axes)
    views = []
    scene = _scene(corners)
    _check_points_on_surface(scene, cloud)
    for view in range(projection.num_views):
        right, up, toward = (axis[view].numpy() for axis in axes)
        center = [float(low[view] + high[view]) / 2 for low, high in zip(seen.low, seen.high, strict=True)]
        steps = _sample_places(projection, samples) * float(seen.unit[view])
        origin = ((center[0] + steps)[None, :, None] * right + (center[1] - steps)[:, None, None] * up
                  + (1 + (corners @ toward).max()) * toward)
        colors = _colors(scene, surface, corners, origin, (right, up, toward), background)
        resolution = projection.resolution
        mean = colors.reshape(resolution, samples, resolution, samples, 3).mean(axis=(1, 3))
        image = np.rint(mean).astype(np.uint8)
        if (image == image[:1, :1]).all():
            raise ValueError(f'view {view} of the mesh has a single color, as if nothing were there')
        views.append(image)
    return np.stack(views)


def _sample_places(projection: ContourAwareProjection, samples: int) -> np.ndarray:
    """Return the places of the rays along an image side, from its middle, in units of the longest side of the cloud."""
    pixels = (np.arange(projection.resolution * samples) + .5) / samples - .5
    span = projection.object_ratio * (projection.resolution - 1)
    # A cloud whose views have one pixel fills it.
    return (pixels - .5 * (projection.resolution - 1)) / (span or 1.)


def _scene(corners: np.ndarray):
    import open3d as o3d
    # One thread: data workers render one object each.
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    triangles = np.arange(3 * len(corners), dtype=np.uint32).reshape(-1, 3)
    scene.add_triangles(o3d.core.Tensor(corners.reshape(-1, 3).astype(np.float32)), o3d.core.Tensor(triangles))
    return scene


def _check_points_on_surface(scene, cloud: Tensor) -> None:
    import open3d as o3d
    some = cloud[np.unique(np.linspace(0, len(cloud) - 1, 64, dtype=int))].float().numpy()
    distance = float(np.median(scene.compute_distance(o3d.core.Tensor(some), nthreads=1).numpy()))
    if not distance <= MAX_DISTANCE:
        raise ValueError(f'the points are not on the mesh (median distance {distance:.2g} of half their size): render '
                         'before transforms that move the points, and without other objects among them')


def _colors(scene, surface: Surface, corners: np.ndarray, origin: np.ndarray,
            axes: tuple[np.ndarray, np.ndarray, np.ndarray], background: tuple[int, int, int]) -> np.ndarray:
    """Return the colors of rays against the third of ``axes`` from ``origin`` (H, W, 3), float64 (H, W, 3)."""
    import open3d as o3d
    rays = np.concatenate([origin, np.broadcast_to(-axes[2], origin.shape)], axis=-1).reshape(-1, 6)
    found = scene.cast_rays(o3d.core.Tensor(rays.astype(np.float32)), nthreads=1)
    hit = np.isfinite(found['t_hit'].numpy())
    faces, places = found['primitive_ids'].numpy()[hit].astype(np.int64), found['primitive_uvs'].numpy()[hit]
    weights = np.column_stack([1 - places.sum(axis=1), places])
    normals = np.cross(corners[faces, 1] - corners[faces, 0], corners[faces, 2] - corners[faces, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    normals *= np.where(normals @ axes[2] < 0, -1, 1)[:, None]
    facing = np.clip(normals @ (LIGHT @ np.stack(axes)), 0, 1)
    colors = np.empty((len(rays), 3))
    colors[:] = background
    colors[hit] = surface.paint(faces, weights) * (AMBIENT + (1 - AMBIENT) * facing)[:, None]
    return colors.reshape(origin.shape)
