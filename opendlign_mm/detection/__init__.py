"""Open-vocabulary 3D detection: proposals, the points in them, their depth views, and classes from prompts."""
from .cluster_proposals import ClusterProposals
from .detector_proposals import DetectorProposals
from .file_proposals import FileProposals
from .ground_truth_proposals import GroundTruthProposals
from .open_vocab_bbox_head import OpenVocabBBoxHead
from .open_vocab_detector import OpenVocabDetector3D
from .points_in_boxes import crop_points, points_in_boxes
from .proposals import BrokenSceneError
from .three_detr import ThreeDETR
from .three_detr_proposals import ThreeDETRProposals

__all__ = [
    'BrokenSceneError', 'ClusterProposals', 'DetectorProposals', 'FileProposals', 'GroundTruthProposals',
    'OpenVocabBBoxHead', 'OpenVocabDetector3D', 'ThreeDETR', 'ThreeDETRProposals', 'crop_points', 'points_in_boxes'
]
