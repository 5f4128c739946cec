"""CLIP backbones, heads, OpenDlign and the aligner of point encoders, without mmdet3d's models or structures."""
from .alignment_adapters import AlignmentAdapter, CLIPImageAdapter, ImageAdapterAligner
from .clip2point import CLIP2Point
from .clip_backbone import CLIPDepthBackbone
from .contrastive_head import DepthImageContrastiveHead
from .device_projection import ProjectingDataPreprocessor
from .opendlign import OpenDlign
from .pixels import PointDataPreprocessor, ViewDataPreprocessor
from .tri_modal import TriModalAligner
from .tri_modal_head import TriModalContrastiveHead
from .twin_backbone import CLIPTwinBackbone
from .two_step_head import TwoStepHead
from .view_adapters import DualPathAdapter, InterViewAdapter
from .view_systems import PointCLIP
from .weighted_view_head import WeightedViewHead
from .zero_shot_head import ZeroShotHead

__all__ = ['AlignmentAdapter', 'CLIP2Point', 'CLIPDepthBackbone', 'CLIPImageAdapter', 'CLIPTwinBackbone',
           'DepthImageContrastiveHead', 'DualPathAdapter', 'ImageAdapterAligner', 'InterViewAdapter', 'OpenDlign',
           'PointCLIP', 'PointDataPreprocessor', 'ProjectingDataPreprocessor', 'TriModalAligner',
           'TriModalContrastiveHead', 'TwoStepHead', 'ViewDataPreprocessor', 'WeightedViewHead', 'ZeroShotHead']
