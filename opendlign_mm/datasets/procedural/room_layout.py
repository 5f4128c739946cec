"""Layout of procedural rooms: which objects they hold and where."""
from dataclasses import dataclass, field

import numpy as np

from . import ShapeSample, sample_shape

# Objects of each kind of room: (category, smallest number, largest number).
ROOM_KINDS: dict[str, tuple[tuple[str, int, int], ...]] = dict(
    bedroom=(('bed', 1, 2), ('cabinet', 1, 2), ('desk', 0, 1), ('bookshelf', 0, 1), ('chair', 1, 2), ('lamp', 0, 2)),
    living_room=(('sofa', 1, 2), ('table', 1, 2), ('bookshelf', 1, 2), ('cabinet', 1, 1), ('chair', 1, 4),
                 ('lamp', 0, 2)),
    office=(('desk', 1, 3), ('bookshelf', 1, 2), ('cabinet', 1, 2), ('table', 0, 1), ('chair', 2, 4), ('sofa', 0, 1)),
    bathroom=(('bathtub', 1, 1), ('toilet', 1, 1), ('sink', 1, 2), ('cabinet', 0, 1)),
    studio=(('bed', 1, 1), ('sofa', 0, 1), ('table', 1, 1), ('desk', 0, 1), ('cabinet', 1, 2), ('chair', 1, 3),
            ('toilet', 1, 1), ('sink', 1, 1), ('bathtub', 0, 1)),
)
FLOOR_AREA = dict(bedroom=(10, 18), living_room=(14, 28), office=(12, 24), bathroom=(6, 10), studio=(20, 34))
STANDS_FREE = ('chair', 'table', 'lamp')
ON_TOP = ('bottle', 'cup', 'monitor')  # clutter on tables and desks, not among ScanNet's 18 classes


@dataclass
class PlacedObject:
    """Object in a room, with ``points`` float64 (N, 3) in the frame of the room and ``colors`` uint8 (N, 3)."""
    category: str
    points: np.ndarray
    colors: np.ndarray


@dataclass
class RoomLayout:
    """Room with x in [0, width], y in [0, depth], z in [0, height], in meters, and its objects."""
    kind: str
    width: float
    depth: float
    height: float
    objects: list[PlacedObject] = field(default_factory=list)


def lay_out_room(rng: np.random.Generator, points_per_square_meter: float = 1500.) -> RoomLayout:
    """Draw a room and place objects in it without collisions.

    Furniture has its back to a wall, doors and windows are in walls, chairs and tables stand free, small objects stand
    on tables and desks. Objects that find no place are skipped.

    Args:
        rng: Generator of all random numbers.
        points_per_square_meter: Density of the points on the objects.
    """
    kind = str(rng.choice(list(ROOM_KINDS)))
    area, aspect = rng.uniform(*FLOOR_AREA[kind]), rng.uniform(0.65, 1.5)
    room = RoomLayout(kind, (area * aspect)**0.5, (area / aspect)**0.5, rng.uniform(2.3, 2.9))
    taken: list[tuple[np.ndarray, np.ndarray]] = []
    for category in ['door'] + ['window'] * rng.integers(1, 3):
        _place_in_wall(room, taken, category, rng, points_per_square_meter)
    wanted = [category for category, least, most in ROOM_KINDS[kind] for _ in range(rng.integers(least, most + 1))]
    for category in sorted(wanted, key=STANDS_FREE.__contains__):  # those at walls go first
        place = _place_free if category in STANDS_FREE else _place_at_wall
        place(room, taken, category, rng, points_per_square_meter)
    for support in [placed for placed in room.objects if placed.category in ('table', 'desk')]:
        _place_on_top(room, support, rng, points_per_square_meter)
    return room


def _draw(category: str, rng: np.random.Generator, density: float) -> ShapeSample:
    """Make a shape with a number of points that suits its size."""
    state = rng.integers(2**63)
    extent = np.ptp(sample_shape(category, np.random.default_rng(state), 200).points, axis=0)
    surface = 2 * (extent[0] * extent[1] + extent[1] * extent[2] + extent[0] * extent[2])
    return sample_shape(category, np.random.default_rng(state), int(np.clip(density * surface, 400, 20000)))


def _rotated(points: np.ndarray, yaw: float) -> np.ndarray:
    cos, sin = np.cos(yaw), np.sin(yaw)
    return points.astype(np.float64) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def _collides(low: np.ndarray, high: np.ndarray, taken: list, gap: float) -> bool:
    return any((low - gap < other_high).all() and (high + gap > other_low).all() for other_low, other_high in taken)


def _add(room: RoomLayout, taken: list, category: str, shape: ShapeSample, points: np.ndarray) -> None:
    room.objects.append(PlacedObject(category, points, shape.colors))
    taken.append(_extent(points))


def _extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.min(axis=0), points.max(axis=0)


def _wall_pose(room: RoomLayout, wall: int, share: float, half_width: float, offset: float) -> tuple[np.ndarray, float]:
    """Return position (x, y) and yaw of an object at a wall, facing into the room.

    ``share`` in [0, 1] is the position along the wall, ``offset`` the distance of its center from the wall.
    """
    length = room.width if wall % 2 == 0 else room.depth
    along = half_width + share * max(0., length - 2 * half_width)
    position = [(along, offset), (room.width - offset, along), (along, room.depth - offset), (offset, along)][wall]
    return np.array(position), wall * np.pi / 2  # the shapes face +y, which is into the room from wall 0


def _place_in_wall(room: RoomLayout, taken: list, category: str, rng: np.random.Generator, density: float) -> None:
    for _ in range(30):
        shape = _draw(category, rng, density)
        size = np.ptp(shape.points, axis=0)
        wall = int(rng.integers(4))
        if size[0] > (room.width if wall % 2 == 0 else room.depth) - 0.4:
            continue
        position, yaw = _wall_pose(room, wall, rng.uniform(), size[0] / 2 + 0.2, size[1] / 2)
        points = _rotated(shape.points, yaw) + [*position, 0]
        if category == 'window':
            points[:, 2] += min(rng.uniform(0.7, 1.1), room.height - size[2] - 0.1)
        low, high = _extent(points)
        if _collides(low, high, taken, 0.1):
            continue
        _add(room, taken, category, shape, points)
        if category == 'door':  # keep the entrance free
            into = np.array([(0, 1, 0), (-1, 0, 0), (0, -1, 0), (1, 0, 0)][wall]) * 0.8
            taken.append((np.minimum(low, low + into), np.maximum(high, high + into)))
        return


def _place_at_wall(room: RoomLayout, taken: list, category: str, rng: np.random.Generator, density: float) -> None:
    shape = _draw(category, rng, density)
    size = np.ptp(shape.points, axis=0)
    for _ in range(40):
        wall = int(rng.integers(4))
        if size[0] > (room.width if wall % 2 == 0 else room.depth):
            continue
        share = rng.choice([0., 1., rng.uniform()])  # corners are popular
        position, yaw = _wall_pose(room, wall, share, size[0] / 2 + 0.02, size[1] / 2 + rng.uniform(0.01, 0.08))
        points = _rotated(shape.points, yaw) + [*position, 0]
        if not _collides(*_extent(points), taken, 0.05):
            _add(room, taken, category, shape, points)
            return


def _place_free(room: RoomLayout, taken: list, category: str, rng: np.random.Generator, density: float) -> None:
    shape = _draw(category, rng, density)
    for _ in range(40):
        yaw = rng.integers(4) * np.pi / 2 + rng.normal() * (0.3 if category == 'chair' else 0.05)
        points = _rotated(shape.points, yaw)
        half = np.ptp(points[:, :2], axis=0) / 2
        room_left = np.array([room.width, room.depth]) - 2 * half - 0.2
        if (room_left <= 0).any():
            continue
        points = points + [*(half + 0.1 + rng.uniform(size=2) * room_left), 0]
        if not _collides(*_extent(points), taken, 0.1):
            _add(room, taken, category, shape, points)
            return


def _place_on_top(room: RoomLayout, support: PlacedObject, rng: np.random.Generator, density: float) -> None:
    low, high = support.points.min(axis=0), support.points.max(axis=0)
    # The board is the level with the most points; a desk may have a shelf above it.
    levels, counts = np.unique(np.round(support.points[:, 2], 2), return_counts=True)
    board = levels[counts.argmax()]
    taken: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(rng.integers(0, 4)):
        category = str(rng.choice(ON_TOP))
        shape = _draw(category, rng, density)
        points = _rotated(shape.points, rng.uniform(0, 2 * np.pi))
        half = np.ptp(points[:, :2], axis=0) / 2
        space = (high - low)[:2] - 2 * half
        if (space <= 0).any():
            continue
        points = points + [*(low[:2] + half + rng.uniform(size=2) * space), board]
        if not _collides(*_extent(points), taken, 0.05):
            _add(room, taken, category, shape, points)
