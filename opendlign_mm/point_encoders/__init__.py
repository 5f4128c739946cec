"""Encoders of whole point clouds into the feature space of a CLIP: the networks of ULIP, OpenShape and TAMM."""
from .point_bert import PointBERT
from .point_patch_transformer import PointPatchTransformer
from .sparse_resnet import SparseResNet

__all__ = ['PointBERT', 'PointPatchTransformer', 'SparseResNet']
