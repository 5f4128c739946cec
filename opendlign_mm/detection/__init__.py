"""Open-vocabulary 3D detection: proposals, the points in them, their depth views, and classes from prompts."""
from .cluster_proposals import ClusterProposals
from .ground_truth_proposals import GroundTruthProposals
from .points_in_boxes import crop_points, points_in_boxes

__all__ = ['ClusterProposals', 'GroundTruthProposals', 'crop_points', 'points_in_boxes']
