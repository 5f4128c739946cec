"""Sources of class-agnostic boxes for :class:`OpenVocabDetector3D`.

Each is a module ``(points, data_sample) -> InstanceData(bboxes_3d, objectness)``: clusters of the points
(``clusters``), a trained detector (``detectors``), boxes that exist already (``given_boxes``), or those of data workers
(``pipeline_boxes``).
"""
from .base import make_proposals, no_proposals
from .clusters import ClusterProposals
from .detectors import DetectorProposals, ThreeDETRProposals
from .given_boxes import FileProposals, GroundTruthProposals
from .pipeline_boxes import PipelineProposals, ProposeBoxes

__all__ = [
    'ClusterProposals', 'DetectorProposals', 'FileProposals', 'GroundTruthProposals', 'PipelineProposals',
    'ProposeBoxes', 'ThreeDETRProposals', 'make_proposals', 'no_proposals'
]
