"""Class-agnostic boxes from geometry alone: clusters of the points that are not floor, ceiling or walls."""
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor, nn

from ...box_ops.nms import nms_3d
from ...box_ops.points_in_boxes import count_points_in_boxes
from ...compiled import compiled
from ...point_ops.coordinates import check_points, move_boxes, scene_offset, to_local
from ...point_ops.normals import estimate_normals
from .base import check_colors, make_proposals
from .room_planes import find_room_planes
from .ward_tree import ward_tree


@MODELS.register_module()
class ClusterProposals(nn.Module):
    """Bounding boxes of point clusters in an indoor scan without its floor, ceiling and walls.

    One or more hierarchical clusterings (Ward's criterion over position, normal and color) give clusters
    at all scales. A cluster ranks high if its box contains few points of other clusters (purity), few points are just
    outside its box (isolation), it has many points, and it is not longer than typical furniture.

    The defaults were chosen on one ScanNet scene and a few procedural rooms; they are not tuned on more data.

    Args:
        feature_weights: One (normal, color) pair per clustering: the distance in meters that counts as much as a
            difference of 1 between unit normals, and as a difference of 100 in CIE Lab. Points without colors are
            clustered without them.
        max_points: Largest number of points; larger scenes are sampled at random with ``seed``. Points of equal
            coordinates count once.
        num_neighbors: Neighbors of a point in the graph along which clusters grow.
        max_edge: Longest edge of that graph, in meters.
        min_points: Smallest number of points of a cluster.
        min_size: Shortest side of a box, in meters; thinner boxes are extended to it.
        max_size: Longest side of a box, in meters; larger boxes are dropped.
        typical_size: Longest side without penalty, in meters; the objectness of larger boxes falls in proportion.
        floor_gap: Height above the floor, in meters, below which boxes are extended down to the floor, because
            removing the floor also removes the lowest points of objects.
        surroundings: Distance around a box, in meters, within which points count against its isolation.
        nms_threshold: 3D IoU above which the box of the lower objectness is dropped.
        max_proposals: Largest number of boxes per scene.
        planes: Arguments of :func:`find_room_planes`.
        seed: Seed of all random choices; the same scene always gives the same boxes.

    Raises:
        ValueError: ``feature_weights`` are not pairs of numbers >= 0, or a number of points or boxes is below 1.
    """

    def __init__(self,
                 feature_weights: Sequence[tuple[float, float]] = ((0.5, 2.5), ),
                 max_points: int = 40000,
                 num_neighbors: int = 10,
                 max_edge: float = 0.25,
                 min_points: int = 30,
                 min_size: float = 0.05,
                 max_size: float = 5.,
                 typical_size: float = 2.,
                 floor_gap: float = 0.2,
                 surroundings: float = 0.15,
                 nms_threshold: float = 0.5,
                 max_proposals: int = 128,
                 planes: dict | None = None,
                 seed: int = 0) -> None:
        super().__init__()
        self.feature_weights = [tuple(pair) for pair in feature_weights]
        if not self.feature_weights or any(len(pair) != 2 or min(pair) < 0 for pair in self.feature_weights):
            raise ValueError('feature_weights must be one or more (normal, color) pairs of numbers >= 0, '
                             f'got {feature_weights}')
        if min(max_points, num_neighbors, min_points, max_proposals) < 1:
            raise ValueError('max_points, num_neighbors, min_points and max_proposals must be >= 1, '
                             f'got {max_points}, {num_neighbors}, {min_points} and {max_proposals}')
        self.max_points, self.seed = max_points, seed
        self.num_neighbors, self.max_edge, self.min_points = num_neighbors, max_edge, min_points
        self.min_size, self.max_size, self.typical_size = min_size, max_size, typical_size
        self.floor_gap = floor_gap
        self.surroundings, self.nms_threshold, self.max_proposals = surroundings, nms_threshold, max_proposals
        self.planes = dict(planes or {})

    @torch.no_grad()
    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Propose boxes for one scene.

        Args:
            points: Float (N, >=3): x, y, z in meters, z up, walls in any direction. If there are 6 columns or more, the
                last three are r, g, b in [0, 255] or [0, 1].
            data_sample: Not used.

        Returns:
            ``bboxes_3d`` (DepthInstance3DBoxes, axis-aligned) and ``objectness`` (K,) in [0, 1], descending,
            K <= ``max_proposals``, on the device of ``points``; K is 0 if no points are left to cluster.

        Raises:
            ValueError: The scene has no points, unusable coordinates, or columns that are no colors.
        """
        check_points(points)
        if points.shape[1] >= 6:
            check_colors(points[:, -3:])
        offset = scene_offset(points)
        rng = np.random.default_rng(self.seed)
        sampled = to_local(points.detach(), offset).float().cpu().numpy()
        # Many equal points, such as invalid sensor returns at the origin, would make the neighbor search quadratic.
        sampled = sampled[np.sort(np.unique(sampled[:, :3], axis=0, return_index=True)[1])]
        if len(sampled) > self.max_points:
            sampled = sampled[np.sort(rng.choice(len(sampled), self.max_points, replace=False))]
        xyz = sampled[:, :3].astype(np.float64)
        normals = estimate_normals(xyz)
        room = find_room_planes(xyz, normals, rng=rng, **self.planes)
        rest = ~room.structure
        colors = _lab_colors(sampled[rest, -3:]) if sampled.shape[1] >= 6 else np.zeros((rest.sum(), 0))

        clusters = [
            cluster_tree_boxes(
                xyz[rest],
                np.concatenate([xyz[rest], normal_weight * normals[rest], color_weight * colors], axis=1),
                self.num_neighbors, self.max_edge, self.min_points)
            for normal_weight, color_weight in self.feature_weights
        ]
        lower = np.concatenate([cluster.lower for cluster in clusters])
        upper = np.concatenate([cluster.upper for cluster in clusters])
        num_points = np.concatenate([cluster.num_points for cluster in clusters])
        fits = (upper - lower).max(axis=1) <= self.max_size
        boxes = self._boxes(lower[fits], upper[fits], room.floor_height)
        objectness = self._objectness(torch.from_numpy(xyz[rest]).float(), boxes, torch.from_numpy(num_points[fits]))
        kept = nms_3d(boxes, objectness, self.nms_threshold, max_num=self.max_proposals)
        boxes = move_boxes(boxes[kept].to(points.device), offset)
        return make_proposals(boxes, objectness[kept].to(points.device))

    def _boxes(self, lower: np.ndarray, upper: np.ndarray, floor_height: float | None) -> DepthInstance3DBoxes:
        """Return boxes around clusters, extended to the floor if they stand on it."""
        if floor_height is not None:
            standing = lower[:, 2] < floor_height + self.floor_gap
            lower = np.where(standing[:, None] & [False, False, True], np.minimum(lower, floor_height), lower)
        center, size = (lower + upper) / 2, np.maximum(upper - lower, self.min_size)
        boxes = torch.from_numpy(np.concatenate([center, size], axis=1)).float()
        return DepthInstance3DBoxes(boxes, box_dim=6, with_yaw=False, origin=(0.5, 0.5, 0.5))

    def _objectness(self, xyz: Tensor, boxes: DepthInstance3DBoxes, num_points: Tensor) -> Tensor:
        """Return purity * isolation * (share of the points) ** 1/4 * (typical / longest side), each in [0, 1]."""
        inside = count_points_in_boxes(xyz, boxes).clamp(min=1)
        around = count_points_in_boxes(xyz, boxes, margin=self.surroundings).clamp(min=1)
        share = num_points / max(1, len(xyz))
        compactness = (self.typical_size / boxes.dims.amax(dim=1)).clamp(max=1)
        return (num_points / inside).clamp(max=1) * (inside / around) * share**0.25 * compactness


def _lab_colors(rgb: np.ndarray) -> np.ndarray:
    """Convert (N, 3) colors in [0, 255] or [0, 1] to CIE Lab / 100."""
    if len(rgb) == 0:
        return np.zeros((0, 3))
    rgb = np.clip(rgb / (255 if rgb.max() > 1 else 1), 0, 1).astype(np.float32)
    return cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0].astype(np.float64) / 100


@dataclass
class ClusterBoxes:
    """Bounding boxes of the K clusters of a tree.

    Attributes:
        lower: Float64 (K, 3), smallest coordinates of each cluster's points.
        upper: Float64 (K, 3), largest coordinates.
        num_points: Int64 (K,).
    """
    lower: np.ndarray
    upper: np.ndarray
    num_points: np.ndarray


def cluster_tree_boxes(xyz: np.ndarray,
                       features: np.ndarray,
                       num_neighbors: int = 10,
                       max_edge: float = 0.25,
                       min_points: int = 30) -> ClusterBoxes:
    """Merge points step by step (Ward's criterion, only neighbors in space) and return the boxes of all clusters.

    One tree contains clusters at all scales, from a drawer to a row of cabinets; which of them are objects is decided
    afterwards. Connected parts of the scene with fewer than ``min_points`` points, such as the remains of a wall, are
    ignored: a few such points would stretch the box of a whole object.

    Args:
        xyz: Float (N, 3) in meters.
        features: Float (N, F), the space in which the criterion measures distances.
        num_neighbors: Neighbors of each point in space.
        max_edge: Largest distance of neighbors in meters.
        min_points: Smallest number of points of a cluster and of a connected part of the scene.

    Returns:
        Boxes of at most N - 1 clusters; none if N < max(2, min_points).
    """
    graph = _neighbor_graph(xyz, num_neighbors, max_edge)
    _, part = connected_components(graph, directed=False)
    kept = np.flatnonzero(np.bincount(part, minlength=1)[part] >= max(2, min_points))
    xyz, features, graph = xyz[kept], features[kept], graph[kept][:, kept]
    num = len(xyz)
    if num == 0:
        return ClusterBoxes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    lower = np.concatenate([xyz, np.empty((num - 1, 3))])
    upper = lower.copy()
    num_points = np.ones(2 * num - 1, dtype=np.int64)
    _unite(ward_tree(features, _connected(graph, features)), lower, upper, num_points)
    large = num_points >= min_points
    return ClusterBoxes(lower[large], upper[large], num_points[large])


@compiled()
def _unite(children, lower, upper, num_points):
    """Fill in the bounds (2N - 1, 3) and numbers of points (2N - 1,) of the unions of N points."""
    num = len(children) + 1
    for number in range(num - 1):
        first, second = children[number]
        for axis in range(3):
            lower[num + number, axis] = min(lower[first, axis], lower[second, axis])
            upper[num + number, axis] = max(upper[first, axis], upper[second, axis])
        num_points[num + number] = num_points[first] + num_points[second]


def _connected(graph: csr_matrix, features: np.ndarray) -> csr_matrix:
    """Return the graph with an edge between the closest points of each two parts, so that the tree has one top.

    scikit-learn adds the same edges, but by all distances: gigabytes, and a third of the time of the clustering.
    """
    num_parts, part = connected_components(graph, directed=False)
    members = [np.flatnonzero(part == number) for number in range(num_parts)]
    trees = [cKDTree(features[member]) for member in members]
    ends = []
    for first in range(num_parts):
        for second in range(first):
            small, large = sorted((first, second), key=lambda number: len(members[number]))
            points = features[members[small]]
            # A few points bound the distance, which spares all others a search beyond it.
            bound = np.nextafter(trees[large].query(points[::1 + len(points) // 100])[0].min(), np.inf)
            distances, nearest = trees[large].query(points, distance_upper_bound=bound)
            closest = distances.argmin()
            ends.append((members[small][closest], members[large][nearest[closest]]))
    if not ends:
        return graph
    rows, columns = np.array(ends).T
    edges = csr_matrix((np.ones(len(ends)), (rows, columns)), shape=graph.shape)
    return graph.maximum(edges).maximum(edges.T)


def _neighbor_graph(xyz: np.ndarray, num_neighbors: int, max_edge: float) -> csr_matrix:
    """Return the symmetric adjacency matrix (N, N) of points and their nearest neighbors within ``max_edge``."""
    if len(xyz) < 2:
        return csr_matrix((len(xyz), ) * 2)
    num_neighbors = min(num_neighbors, len(xyz) - 1)
    distances, neighbors = cKDTree(xyz).query(xyz, num_neighbors + 1, workers=torch.get_num_threads())
    sources = np.repeat(np.arange(len(xyz)), num_neighbors)
    close = distances[:, 1:].ravel() <= max_edge
    edges = (sources[close], neighbors[:, 1:].ravel()[close])
    graph = csr_matrix((np.ones(close.sum()), edges), shape=(len(xyz), ) * 2)
    return graph.maximum(graph.T)
