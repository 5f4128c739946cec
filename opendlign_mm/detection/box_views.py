"""From the points in boxes to class probabilities: crops, depth views and color views, features."""
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..box_ops.points_in_boxes import crop_points
from ..models import OpenDlign
from ..projection import ColorProjection, build_projection
from ..projection.color import color_bytes

# Color views of so many boxes are in memory at a time.
BOXES_AT_A_TIME = 32


class BoxViewsMixin:
    """Part of :class:`OpenVocabDetector3D` that classifies crops; see its arguments."""

    classifier: Any
    bbox_head: Any
    class_names: tuple[str, ...]

    def init_views(self, projection: dict | None, box_margin: float, min_points: int) -> None:
        """Set how boxes are cropped and projected; the classifier says whether colors are."""
        self.projection = build_projection(projection)
        self.color_projection = (None if getattr(self.classifier, 'color', None) is None
                                 else ColorProjection(self.projection))
        self.box_margin, self.min_points = box_margin, min_points

    def crop_proposals(self, points: Tensor, proposals: InstanceData) -> tuple[InstanceData, list[Tensor]]:
        """Drop proposals with fewer than ``min_points`` points and crop the points of the others.

        Args:
            points: Float (N, >=3), x, y, z first, in meters, z up.
            proposals: ``bboxes_3d`` and ``objectness`` of K boxes.

        Returns:
            Proposals of K' <= K boxes, and K' tensors (N_i, 3) of points in the frames of their boxes, or (N_i, 6) with
            colors in [0, 255] where the classifier takes color views and the points have colors.
        """
        if self.color_projection is not None and points.shape[1] >= 6:
            points = torch.cat([points[:, :3], color_bytes(points[:, 3:6], len(points)).to(points)], dim=1)
        else:
            points = points[:, :3]
        crops = crop_points(points, proposals.bboxes_3d, self.box_margin)
        kept = torch.tensor([len(crop) >= self.min_points for crop in crops], dtype=torch.bool, device=points.device)
        return proposals[kept], [crop for crop in crops if len(crop) >= self.min_points]

    def depth_views(self, crops: list[Tensor]) -> Tensor:
        """Project K crops to depth views (K, V, H, W)."""
        return self.projection([crop[:, :3] for crop in crops])

    def color_features(self, crops: list[Tensor]) -> Tensor | None:
        """Return the features (K, V, D) of the color views of K > 0 crops; None where there are none."""
        if self.color_projection is None or crops[0].shape[1] < 6:
            return None
        features = []
        for start in range(0, len(crops), BOXES_AT_A_TIME):
            chunk = crops[start:start + BOXES_AT_A_TIME]
            views = self.color_projection([crop[:, :3] for crop in chunk], [crop[:, 3:].byte() for crop in chunk])
            features.append(self.classifier.encode_colors(views))
        return torch.cat(features)

    @property
    def keeps_view_features(self) -> bool:
        """Whether the classes of a box follow from features of its views, which do not depend on the vocabulary."""
        return getattr(type(self.classifier), 'class_logits', None) is OpenDlign.class_logits

    @torch.no_grad()
    def classify_encoded(self, proposals: InstanceData) -> Tensor:
        """Return the class probabilities (K, C) of the result of :meth:`encode_scene`."""
        if len(proposals) == 0:
            return proposals.objectness.new_zeros(0, len(self.class_names))
        if not self.keeps_view_features:
            return self.class_probabilities(proposals.depth_views)
        logits = self.classifier.class_logits_of(proposals.get('view_features'), proposals.get('color_features'))
        return self.bbox_head.probabilities(logits)[:, :len(self.class_names)]

    def extract_feat(self, depth_views: Tensor) -> dict[str, Tensor]:
        """Encode depth views (K, V, H, W) into L2-normalized features (K, V, D) of each branch."""
        return self.classifier.encode_views(depth_views, self.classifier.backbone.branches)

    def class_probabilities(self, depth_views: Tensor) -> Tensor:
        """Depth views (K, V, H, W) -> probabilities (K, C) of the vocabulary; the background keeps its share."""
        probabilities = self.bbox_head.probabilities(self.classifier.class_logits(depth_views))
        return probabilities[:, :len(self.class_names)]

    def classify_crops(self, crops: list[Tensor], points: Tensor, depth_views: Tensor | None = None) -> Tensor:
        """Return the class probabilities (K, C) of K point sets, on the device of ``points``.

        Args:
            crops: K crops of :meth:`crop_proposals`.
            points: Points of the scene.
            depth_views: Their depth views (K, V, H, W), if they are made already.
        """
        if not crops:
            return points.new_zeros(0, len(self.class_names))
        if depth_views is None and getattr(self.classifier, 'views', 'depth') != 'color':
            depth_views = self.depth_views(crops)
        if self.color_projection is None:
            return self.class_probabilities(depth_views)
        features = None if self.classifier.views == 'color' else self.classifier.encode_for_classes(depth_views)
        logits = self.classifier.class_logits_of(features, self.color_features(crops))
        return self.bbox_head.probabilities(logits)[:, :len(self.class_names)]
