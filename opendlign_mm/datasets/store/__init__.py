"""Datasets of depth views and depth-aligned images on disk, in shards that are written independently of each other."""
from .packed_shape import PackedShape, encode_image
from .shape_store import ShapeStore

__all__ = ['PackedShape', 'ShapeStore', 'encode_image']
