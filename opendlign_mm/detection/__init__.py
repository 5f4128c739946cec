"""Open-vocabulary 3D detection: class-agnostic boxes, the depth views of their points, and classes from prompts."""
from ..box_ops.points_in_boxes import crop_points, points_in_boxes
from .open_vocab_bbox_head import OpenVocabBBoxHead
from .open_vocab_detector import OpenVocabDetector3D
from .proposals import (
    ClusterProposals,
    DetectorProposals,
    FileProposals,
    GroundTruthProposals,
    PipelineProposals,
    ProposeBoxes,
    ThreeDETRProposals,
)
from .three_detr import ThreeDETR

__all__ = [
    'ClusterProposals', 'DetectorProposals', 'FileProposals', 'GroundTruthProposals',
    'OpenVocabBBoxHead', 'OpenVocabDetector3D', 'PipelineProposals', 'ProposeBoxes', 'ThreeDETR', 'ThreeDETRProposals',
    'crop_points', 'points_in_boxes'
]
