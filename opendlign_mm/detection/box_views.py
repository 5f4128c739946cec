"""From the points in boxes to class probabilities: crops, depth views and color views, features."""
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..models import OpenDlign
from ..one_ahead import one_ahead
from ..projection import ColorProjection, build_projection
from ..projection.color import color_bytes
from .classified_boxes import BoxCrops
from .size_priors import SizePriors

# Views of so many boxes are made and encoded at a time: ten views of each fill whole passes of an encoder.
BOXES_AT_A_TIME = 32


class BoxViewsMixin:
    """Part of :class:`OpenVocabDetector3D` that classifies crops; see its arguments."""

    classifier: Any
    bbox_head: Any
    class_names: tuple[str, ...]
    size_priors: SizePriors | None
    drop_background: bool
    _num_background: int

    def init_views(self, projection: dict | None, box_margin: float, min_points: int,
                   crop_scales: Sequence[float] = (1., )) -> None:
        """Set how boxes are cropped and projected; the classifier says whether colors are."""
        self.projection = build_projection(projection)
        self.color_projection = (None if getattr(self.classifier, 'color', None) is None
                                 else ColorProjection(self.projection))
        self.crops = BoxCrops(box_margin, min_points, crop_scales)

    def crop_proposals(self, points: Tensor, proposals: InstanceData) -> tuple[InstanceData, list[Tensor]]:
        """Return the proposals with enough points, and their crops at the first scale; see :meth:`crops_at_scales`."""
        proposals, crops = self.crops_at_scales(points, proposals)
        return proposals, crops[0]

    def crops_at_scales(self, points: Tensor, proposals: InstanceData) -> tuple[InstanceData, list[list[Tensor]]]:
        """Drop proposals with fewer than ``min_points`` points and crop the points of the others.

        Args:
            points: Float (N, >=3), x, y, z first, in meters, z up.
            proposals: ``bboxes_3d`` and ``objectness`` of K boxes.

        Returns:
            Proposals of K' <= K boxes, and for each scale K' tensors (N_i, 3) of points in the frames of their boxes,
            or (N_i, 6) with colors in [0, 255] where the classifier takes color views and the points have colors.
        """
        if self.color_projection is not None and points.shape[1] >= 6:
            points = torch.cat([points[:, :3], color_bytes(points[:, 3:6], len(points)).to(points)], dim=1)
        else:
            points = points[:, :3]
        return self.crops(points, proposals)

    def depth_views(self, crops: list[Tensor]) -> Tensor:
        """Project K crops to depth views (K, V, H, W)."""
        return self.projection([crop[:, :3] for crop in crops])

    def color_features(self, crops: list[Tensor]) -> Tensor | None:
        """Return the features (K, V, D) of the color views of K > 0 crops; None where there are none."""
        if self.color_projection is None or crops[0].shape[1] < 6:
            return None
        project = self.color_projection
        return _encoded_in_parts(crops, lambda part: project([crop[:, :3] for crop in part],
                                                             [crop[:, 3:].byte() for crop in part]),
                                 self.classifier.encode_colors)

    def depth_features(self, crops: list[Tensor], kept: list[Tensor] | None = None) -> Tensor:
        """Return the features (K, V, D) of the depth views of K > 0 crops, from which classes follow.

        Args:
            crops: K point sets of :meth:`crop_proposals`.
            kept: List to which the depth views are appended, in parts (k, V, H, W); None forgets them.
        """
        def encode(views: Tensor) -> Tensor:
            if kept is not None:
                kept.append(views)
            return self.classifier.encode_for_classes(views)

        return _encoded_in_parts(crops, self.depth_views, encode)

    @property
    def keeps_view_features(self) -> bool:
        """Whether the classes of a box follow from features of its views, which do not depend on the vocabulary."""
        return getattr(type(self.classifier), 'class_logits', None) is OpenDlign.class_logits

    @torch.no_grad()
    def classify_encoded(self, proposals: InstanceData) -> Tensor:
        """Return the class probabilities (K, C) of the result of :meth:`encode_scene`."""
        if len(proposals) == 0:
            return proposals.objectness.new_zeros(0, len(self.class_names))
        if self.keeps_view_features:
            scales = len(self.crops.crop_scales)
            kept = [[None] * scales if features is None else features.chunk(scales, dim=1) for features in (
                proposals.get('view_features'), proposals.get('color_features'))]
            logits = [self.classifier.class_logits_of(*of_scale) for of_scale in zip(*kept, strict=True)]
        else:
            others = proposals.other_views.unbind(1) if 'other_views' in proposals else ()
            logits = [self.classifier.class_logits(views) for views in (proposals.depth_views, *others)]
        return self.probabilities_of_boxes(logits, proposals)

    def add_views(self, proposals: InstanceData, crops: Sequence[list[Tensor]]) -> None:
        """Add the views of the crops at all scales, or their features, to K proposals; see :meth:`encode_scene`."""
        keeps_features = self.keeps_view_features and len(proposals) > 0
        if not keeps_features or self.classifier.views == 'color':
            views = [self.depth_views(at_scale) for at_scale in (crops[:1] if keeps_features else crops)]
            proposals.depth_views = views[0]
            if not self.keeps_view_features and len(views) > 1:
                proposals.other_views = torch.stack(views[1:], dim=1)
        else:
            kept: list[Tensor] = []
            features = [self.depth_features(crops[0], kept), *map(self.depth_features, crops[1:])]
            proposals.depth_views, proposals.view_features = torch.cat(kept), torch.cat(features, dim=1)
        if keeps_features:
            colors = [self.color_features(at_scale) for at_scale in crops]
            if colors[0] is not None:
                proposals.color_features = torch.cat(colors, dim=1)

    def probabilities_of_boxes(self, logits: Sequence[Tensor], proposals: InstanceData) -> Tensor:
        """Return the class probabilities (K, C) of K > 0 boxes: the mean over scales, weighed by sizes if asked for.

        Args:
            logits: For each scale the logits (K, C + B) of the vocabulary and the background.
            proposals: ``bboxes_3d``.
        """
        probabilities = torch.stack([self.bbox_head.probabilities(each) for each in logits]).mean(dim=0)
        own, background = probabilities.split([len(self.class_names), self._num_background], dim=1)
        if self.size_priors is not None:
            own = self.size_priors.weigh(own, proposals.bboxes_3d.dims, self.class_names)
        if self.drop_background and self._num_background:
            own = own.masked_fill((background.amax(dim=1) > own.amax(dim=1))[:, None], 0)
        return own

    def extract_feat(self, depth_views: Tensor) -> dict[str, Tensor]:
        """Encode depth views (K, V, H, W) into L2-normalized features (K, V, D) of each branch."""
        return self.classifier.encode_views(depth_views, self.classifier.backbone.branches)

    def class_probabilities(self, depth_views: Tensor) -> Tensor:
        """Depth views (K, V, H, W) -> probabilities (K, C) of the vocabulary; the background keeps its share.

        They are those of the views alone, without ``size_priors`` and ``drop_background``.
        """
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
        logits = self.class_logits_of_crops(crops, depth_views)
        return self.bbox_head.probabilities(logits)[:, :len(self.class_names)]

    def class_logits_of_crops(self, crops: list[Tensor], depth_views: Tensor | None = None) -> Tensor:
        """Return the logits (K, C + B) of the vocabulary and the background of K > 0 point sets.

        Args:
            crops: K point sets of :meth:`crop_proposals`.
            depth_views: Their depth views (K, V, H, W), if they are known.
        """
        if self.color_projection is None and not self.keeps_view_features:
            return self.classifier.class_logits(self.depth_views(crops) if depth_views is None else depth_views)
        if getattr(self.classifier, 'views', 'depth') == 'color':
            features = None
        elif depth_views is None:
            features = self.depth_features(crops)
        else:
            features = self.classifier.encode_for_classes(depth_views)
        return self.classifier.class_logits_of(features, self.color_features(crops))


def _encoded_in_parts(crops: list[Tensor], project: Callable[[list[Tensor]], Tensor],
                      encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the features (K, V, D) of K > 0 crops; views of the next boxes are made while some are encoded."""
    parts = [crops[start:start + BOXES_AT_A_TIME] for start in range(0, len(crops), BOXES_AT_A_TIME)]
    with closing(one_ahead(project, parts, crops[0].device)) as views:
        return torch.cat([encode(of_part) for of_part in views])
