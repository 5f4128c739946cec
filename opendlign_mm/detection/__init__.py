"""Open-vocabulary 3D detection: proposals, the points in them, their depth views, and classes from prompts."""
from ..box_ops.points_in_boxes import crop_points, points_in_boxes
from ..point_ops.checks import BrokenSceneError
from .open_vocab_bbox_head import OpenVocabBBoxHead
from .open_vocab_detector import OpenVocabDetector3D
from .proposals.clusters import ClusterProposals
from .proposals.detectors import DetectorProposals, ThreeDETRProposals
from .proposals.files import FileProposals
from .proposals.ground_truth import GroundTruthProposals
from .three_detr import ThreeDETR

__all__ = [
    'BrokenSceneError', 'ClusterProposals', 'DetectorProposals', 'FileProposals', 'GroundTruthProposals',
    'OpenVocabBBoxHead', 'OpenVocabDetector3D', 'ThreeDETR', 'ThreeDETRProposals', 'crop_points', 'points_in_boxes'
]
