"""Data sets of objects and rooms."""
from .built_in_shapes import BuiltInShapes

__all__ = ['BuiltInShapes']
