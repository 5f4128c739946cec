"""3DETR-m by the name ``opendlign_mm::3detr/3detr_m_sunrgbd.py`` of mmengine: it needs a folder in the name."""
_base_ = '../3detr_m_sunrgbd.py'
