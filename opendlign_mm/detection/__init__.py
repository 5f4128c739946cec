"""Open-vocabulary 3D detection: proposals, the points in them, their depth views, and classes from prompts."""
from .cluster_proposals import ClusterProposals
from .ground_truth_proposals import GroundTruthProposals
from .open_vocab_bbox_head import OpenVocabBBoxHead
from .open_vocab_detector import OpenVocabDetector3D
from .points_in_boxes import crop_points, points_in_boxes
from .three_detr import ThreeDETR

__all__ = [
    'ClusterProposals', 'GroundTruthProposals', 'OpenVocabBBoxHead', 'OpenVocabDetector3D', 'ThreeDETR',
    'crop_points', 'points_in_boxes'
]
