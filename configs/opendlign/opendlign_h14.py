"""OpenDlign by the name ``opendlign_mm::opendlign/opendlign_h14.py`` of mmengine: it needs a folder in the name."""
_base_ = '../opendlign_h14.py'
