"""OpenDlign by the name ``opendlign_mm::opendlign/opendlign_l14.py`` of mmengine: it needs a folder in the name."""
_base_ = '../opendlign_l14.py'
