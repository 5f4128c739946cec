"""The demonstration model by the name ``opendlign_mm::opendlign/opendlign_tiny.py`` of mmengine."""
_base_ = '../opendlign_tiny.py'
