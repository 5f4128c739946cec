"""CLIP backbones, heads and the OpenDlign model. Nothing here needs mmdet3d's models or structures."""
from .clip_backbone import CLIPDepthBackbone
from .contrastive_head import DepthImageContrastiveHead
from .opendlign import OpenDlign
from .pixels import ViewDataPreprocessor
from .zero_shot_head import ZeroShotHead

__all__ = ['CLIPDepthBackbone', 'DepthImageContrastiveHead', 'OpenDlign', 'ViewDataPreprocessor', 'ZeroShotHead']
