"""Sources of class-agnostic boxes for :class:`OpenVocabDetector3D`.

Each is a module ``(points, data_sample) -> InstanceData(bboxes_3d, objectness)``: clusters of the points
(``clusters``), a trained detector (``detectors``), or boxes that exist already (``given_boxes``).
"""
from .base import make_proposals, no_proposals
from .clusters import ClusterProposals
from .detectors import DetectorProposals, ThreeDETRProposals
from .given_boxes import FileProposals, GroundTruthProposals

__all__ = [
    'ClusterProposals', 'DetectorProposals', 'FileProposals', 'GroundTruthProposals', 'ThreeDETRProposals',
    'make_proposals', 'no_proposals'
]
