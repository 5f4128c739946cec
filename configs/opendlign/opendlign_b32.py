"""OpenDlign by the name ``opendlign_mm::opendlign/opendlign_b32.py`` of mmengine: it needs a folder in the name."""
_base_ = '../opendlign_b32.py'
