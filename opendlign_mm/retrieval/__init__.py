"""Retrieval of shapes by text, by image, or by both (OpenDlign, cross-modal retrieval).

FAISS, a requirement of retrieval only, is imported on first use.
"""
from .build_index import build_index, shape_folder_dataset, write_index
from .query import embed_query, model_of_index
from .shape_index import ShapeIndex

__all__ = ['ShapeIndex', 'build_index', 'embed_query', 'model_of_index', 'shape_folder_dataset', 'write_index']
