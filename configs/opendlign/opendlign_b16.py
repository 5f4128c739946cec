"""OpenDlign by the name ``opendlign_mm::opendlign/opendlign_b16.py`` of mmengine: it needs a folder in the name."""
_base_ = '../opendlign_b16.py'
