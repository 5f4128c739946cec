"""Detection by the demonstration model: ``opendlign_mm::opendlign/opendlign_tiny_scannet.py`` of mmengine."""
_base_ = '../opendlign_tiny_scannet.py'
