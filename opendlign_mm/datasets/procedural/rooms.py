"""Procedural scans of rooms with built-in objects, so that detection runs without a download."""
from dataclasses import dataclass

import numpy as np

from ..class_names import SCANNET_CLASSES, SCANNET_NYU40_IDS
from .room_layout import RoomLayout, lay_out_room
from .scan_simulation import scan

ROOM_CLASSES = ('cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf', 'desk', 'toilet', 'sink',
                'bathtub')
WALL_ID, FLOOR_ID, CEILING_ID, OTHER_ID = 1, 2, 22, 40  # NYU40


@dataclass(frozen=True)
class Room:
    """Scanned room.

    Attributes:
        points: Points in meters, float32 (N, 3), z up, as scanned: the walls have any direction.
        colors: Colors, uint8 (N, 3), RGB.
        axis_align_matrix: Rigid transform from ``points`` to the frame of the walls and of ``boxes``, float64 (4, 4).
        boxes: Gravity centers and sizes in meters, float32 (M, 6), axis-aligned in that frame, around the scanned
            points of each annotated object.
        labels: Indices in :data:`SCANNET_CLASSES`, int64 (M,).
        instance_mask: Number of the object from 1, annotated or not, or 0 for none, int64 (N,).
        semantic_mask: NYU40 ids, int64 (N,).
    """
    points: np.ndarray
    colors: np.ndarray
    axis_align_matrix: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    instance_mask: np.ndarray
    semantic_mask: np.ndarray


def make_room(rng: np.random.Generator, num_points: int = 40000, min_points: int = 60) -> Room:
    """Build a room of built-in objects and scan it.

    Args:
        rng: Generator of all random numbers; the same state gives the same room.
        num_points: Maximum number of points of the scan.
        min_points: Number of scanned points below which an object is not annotated.

    Raises:
        ValueError: ``num_points`` is below 1000.
    """
    if num_points < 1000:
        raise ValueError(f'num_points must be >= 1000, got {num_points}')
    layout = lay_out_room(rng)
    surfaces = _shell(layout, rng)
    for number, placed in enumerate(layout.objects, start=1):
        label = SCANNET_CLASSES.index(placed.category) if placed.category in ROOM_CLASSES else None
        semantic = OTHER_ID if label is None else SCANNET_NYU40_IDS[label]
        surfaces.append((placed.points, placed.colors, number, semantic))
    complete = np.concatenate([points for points, *_ in surfaces])
    colors = np.concatenate([color for _, color, *_ in surfaces])
    sizes = [len(points) for points, *_ in surfaces]
    instances = np.repeat([instance for *_, instance, _ in surfaces], sizes)
    semantics = np.repeat([semantic for *_, semantic in surfaces], sizes)

    chosen, points = scan(complete, _cameras(layout, rng), num_points, rng)
    instance_mask, semantic_mask = instances[chosen].astype(np.int64), semantics[chosen].astype(np.int64)
    boxes, labels = [], []
    for number, placed in enumerate(layout.objects, start=1):
        own = points[instance_mask == number]
        if placed.category in ROOM_CLASSES and len(own) >= min_points:
            boxes.append(np.concatenate([(own.max(axis=0) + own.min(axis=0)) / 2, np.ptp(own, axis=0)]))
            labels.append(SCANNET_CLASSES.index(placed.category))
    matrix = _axis_align_matrix(rng)
    scanned = (points - matrix[:3, 3]) @ matrix[:3, :3]  # the inverse of p -> R p + t
    return Room(
        scanned.astype(np.float32), _lit(colors[chosen], rng), matrix,
        np.array(boxes, dtype=np.float32).reshape(-1, 6), np.array(labels, dtype=np.int64), instance_mask,
        semantic_mask)


def _shell(layout: RoomLayout, rng: np.random.Generator, density: float = 1500.
           ) -> list[tuple[np.ndarray, np.ndarray, int, int]]:
    """Sample floor, walls and, in one of three rooms, the ceiling: (points, colors, instance 0, NYU40 id) of each."""
    width, depth, height = layout.width, layout.depth, layout.height
    faces = [(width, depth, lambda u, v: (u, v, 0 * u), FLOOR_ID),
             (width, height, lambda u, v: (u, 0 * u, v), WALL_ID),
             (width, height, lambda u, v: (u, 0 * u + depth, v), WALL_ID),
             (depth, height, lambda u, v: (0 * u, u, v), WALL_ID),
             (depth, height, lambda u, v: (0 * u + width, u, v), WALL_ID)]
    if rng.random() < 1 / 3:
        faces.append((width, depth, lambda u, v: (u, v, 0 * u + height), CEILING_ID))
    color_of = {FLOOR_ID: rng.integers(60, 190) + rng.integers(-25, 26, 3),
                WALL_ID: rng.integers(140, 230) + rng.integers(-20, 21, 3),
                CEILING_ID: np.array([230, 230, 225])}
    shell = []
    for first, second, embed, semantic in faces:
        count = int(first * second * density)
        u, v = rng.uniform(0, first, count), rng.uniform(0, second, count)
        shade = rng.normal(0, 5) + rng.normal(0, 4, (count, 1))
        colors = np.clip(color_of[semantic] + shade, 0, 255).astype(np.uint8)
        shell.append((np.stack(embed(u, v), axis=1), colors, 0, semantic))
    return shell


def _cameras(layout: RoomLayout, rng: np.random.Generator) -> np.ndarray:
    """Draw 3 to 6 positions of the camera, (K, 3), at head height and away from the walls."""
    count = rng.integers(3, 7)
    size = np.array([layout.width, layout.depth])
    return np.column_stack([rng.uniform(0.15, 0.85, (count, 2)) * size, rng.uniform(1.4, 1.8, count)])


def _axis_align_matrix(rng: np.random.Generator) -> np.ndarray:
    """Draw a rotation about z by 10 to 60 degrees with a translation of some meters, (4, 4)."""
    angle = rng.uniform(np.radians(10), np.radians(60)) * rng.choice([-1, 1])
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = [*rng.uniform(-5, 5, 2), rng.uniform(-0.1, 0.1)]
    return matrix


def _lit(colors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return colors under the light of the room, with noise."""
    light = rng.uniform(0.7, 1.1) * rng.uniform(0.93, 1.07, 3)
    return np.clip(colors * light + rng.normal(0, 6, colors.shape), 0, 255).astype(np.uint8)
