"""Normals of points, estimated from their neighbors."""
import numpy as np
import torch
from scipy.spatial import cKDTree


def estimate_normals(xyz: np.ndarray, num_neighbors: int = 16) -> np.ndarray:
    """Estimate unit normals by PCA of each point's neighbors, oriented toward the middle of the scene.

    Args:
        xyz: Float (N, 3).
        num_neighbors: Points per neighborhood, including the point itself.

    Returns:
        Float64 (N, 3).
    """
    xyz = np.asarray(xyz, dtype=np.float64)
    num_neighbors = min(num_neighbors, len(xyz))
    _, neighbors = cKDTree(xyz).query(xyz, num_neighbors, workers=torch.get_num_threads())
    patches = xyz[neighbors.reshape(len(xyz), num_neighbors)]
    patches = patches - patches.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum('nki,nkj->nij', patches, patches))
    normals = vectors[:, :, 0]
    toward_middle = ((np.median(xyz, axis=0) - xyz) * normals).sum(axis=1)
    return np.where(toward_middle[:, None] < 0, -normals, normals)
