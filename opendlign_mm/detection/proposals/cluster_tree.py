"""Boxes of all clusters in a hierarchical clustering of points."""
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.cluster import AgglomerativeClustering


@dataclass
class ClusterBoxes:
    """The clusters of a tree.

    Attributes:
        lower (np.ndarray): (K, 3) smallest coordinates of each cluster's points.
        upper (np.ndarray): (K, 3) largest ones.
        num_points (np.ndarray): int64 (K,).
    """
    lower: np.ndarray
    upper: np.ndarray
    num_points: np.ndarray


def cluster_tree_boxes(xyz: np.ndarray,
                       features: np.ndarray,
                       num_neighbors: int = 10,
                       max_edge: float = 0.25,
                       min_points: int = 30) -> ClusterBoxes:
    """Join points step by step (Ward's criterion, only neighbours in space) and box every cluster on the way.

    Clusters at all scales, from a drawer to a row of cabinets, come from one tree; which of them are objects is
    decided afterwards. Points in parts of the scene that are no larger than noise, such as what is left of a wall, take
    no part: a few of them would stretch the box of a whole object.

    Args:
        xyz (np.ndarray): (N, 3) in metres.
        features (np.ndarray): (N, F), what the criterion measures distances in.
        num_neighbors (int): neighbours of each point in space.
        max_edge (float): metres; farther points are no neighbours.
        min_points (int): smaller clusters, and smaller separate parts of the scene, are left out.

    Returns:
        ClusterBoxes: of at most N - 1 clusters; none if N < max(2, min_points).
    """
    graph = _neighbor_graph(xyz, num_neighbors, max_edge)
    _, part = connected_components(graph, directed=False)
    kept = np.flatnonzero(np.bincount(part, minlength=1)[part] >= max(2, min_points))
    xyz, features, graph = xyz[kept], features[kept], graph[kept][:, kept]
    num = len(xyz)
    if num == 0:
        return ClusterBoxes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    with warnings.catch_warnings():
        # Separate parts of the scene are separate components of the graph; they are joined at the top of the tree.
        warnings.filterwarnings('ignore', message='the number of connected components')
        tree = AgglomerativeClustering(
            n_clusters=1, linkage='ward', compute_full_tree=True, connectivity=graph).fit(features)

    lower = np.concatenate([xyz, np.empty((num - 1, 3))])
    upper = lower.copy()
    num_points = np.ones(2 * num - 1, dtype=np.int64)
    for node, (first, second) in enumerate(tree.children_, start=num):
        np.minimum(lower[first], lower[second], out=lower[node])
        np.maximum(upper[first], upper[second], out=upper[node])
        num_points[node] = num_points[first] + num_points[second]
    large = num_points >= min_points
    return ClusterBoxes(lower[large], upper[large], num_points[large])


def _neighbor_graph(xyz: np.ndarray, num_neighbors: int, max_edge: float) -> csr_matrix:
    if len(xyz) < 2:
        return csr_matrix((len(xyz), ) * 2)
    num_neighbors = min(num_neighbors, len(xyz) - 1)
    distances, neighbors = cKDTree(xyz).query(xyz, num_neighbors + 1)
    sources = np.repeat(np.arange(len(xyz)), num_neighbors)
    close = distances[:, 1:].ravel() <= max_edge
    edges = (sources[close], neighbors[:, 1:].ravel()[close])
    graph = csr_matrix((np.ones(close.sum()), edges), shape=(len(xyz), ) * 2)
    return graph.maximum(graph.T)
