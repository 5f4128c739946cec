"""Scenes as a detector takes them, leveled and turned to the walls, and its boxes in the frame of the file."""
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..point_files import SceneFrame, find_frame, read_points
from ..point_files.room_axes import room_axes

SCENE_MESH_POINTS = 200_000
Up = Literal['auto', 'z', 'y', '-y']
Units = Literal['auto', 'm', 'cm', 'mm']


@dataclass
class LoadedScene:
    """Points of one scene as the detector takes them.

    Attributes:
        points: float32 (N, 3), or (N, 6) with colors in [0, 1]; in the axes of the room, in meters, near the origin.
        axes: float64 (3, 3), rotation from the level frame to these axes; the identity if ``up`` was given.
        offset: float64 (3,), what to add to get the level frame, after turning back.
        frame: How the level frame lies in that of the file.
        notes: What was left out or assumed.
    """
    points: Tensor
    axes: np.ndarray
    offset: Tensor
    frame: SceneFrame
    notes: tuple[str, ...] = ()

    def boxes_in_file(self, boxes: Tensor) -> list[dict]:
        """Return boxes (K, 7) in the axes of the room in the frame of the input.

        Between these axes and the level frame only the turn about z counts for the sides of the boxes: the floor of a
        level frame is level within 3 degrees.
        """
        level = boxes.double().cpu()
        level[:, :3] = level[:, :3] @ torch.from_numpy(self.axes) + self.offset
        level[:, 6] += float(np.arctan2(self.axes[0, 1], self.axes[0, 0]))
        oriented = self.frame.boxes_to_file(level.numpy())
        rows = np.concatenate([oriented.centers, oriented.sizes, level[:, 6:].numpy()], axis=1).tolist()
        if oriented.yaws is not None:
            return [dict(bbox_3d=row) for row in rows]
        return [dict(bbox_3d=row, rotation=turn) for row, turn in zip(rows, oriented.rotations.tolist(), strict=True)]


def load_scene(source: Any, up: Up = 'auto', units: Units = 'auto', dims: int | None = None) -> LoadedScene:
    """Read a scene and find its frame.

    Args:
        source: Path, array, tensor or object of points; see :func:`.point_files.read_points`.
        up: Axis that points up; ``'auto'`` finds the floor and the walls.
        units: Unit of the file.
        dims: Values of a point in .bin files.

    Raises:
        ValueError: The scene cannot be read; the message names it.
    """
    from ..point_ops.coordinates import scene_offset, to_local
    cloud = read_points(source, dims=dims, mesh_points=SCENE_MESH_POINTS)
    frame = find_frame(cloud, up, units)
    if frame.is_doubtful:
        warnings.warn(f'{cloud.name}: {frame.description}', stacklevel=3)
    level = torch.from_numpy(frame.to_level(cloud.points))
    offset = scene_offset(level)
    axes = np.eye(3)
    if up == 'auto':
        near = level.numpy() - offset.numpy()
        axes = room_axes(near)
        level = torch.from_numpy(near @ axes.T)
        local = to_local(level, torch.zeros_like(offset))
    else:
        local = to_local(level, offset)
    if cloud.colors is not None:
        local = torch.cat([local, torch.from_numpy(cloud.colors)], dim=1)
    return LoadedScene(local, axes, offset, frame, cloud.notes)
