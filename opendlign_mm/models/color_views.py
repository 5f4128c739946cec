"""Color views in zero-shot classification and in alignment: a head of their own beside that of the depth views."""
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from .contrastive_head import object_features
from .weighted_view_head import WeightedViewHead
from .zero_shot_head import ZeroShotHead
from .zero_shot_model import Component, build_component, full_precision

Views = Literal['depth', 'color', 'both']


class ColorViews(BaseModule):
    """What a model needs to know of color views.

    Color views are photos, so by default they are encoded by the pretrained branch, which is CLIP itself, and compared
    with prompts of photos.

    Args:
        views: ``'color'``: color views alone; ``'both'``: beside depth views.
        head: A ``ZeroShotHead`` or its config. What a config leaves open: CLIP's templates of photos, the pretrained
            branch, and the aggregation, scale and text cache of ``depth_head``.
        weight: Share of the color views in the logits of ``'both'``, in (0, 1).
        depth_head: The zero-shot head of the depth views.
        branches: The branches of the backbone.

    Raises:
        ValueError: An option is wrong, or both heads do not go together.
    """

    def __init__(self, views: Views, head: Component | None, weight: float, depth_head: ZeroShotHead | None,
                 branches: Sequence[str]) -> None:
        super().__init__()
        if views not in get_args(Views)[1:]:
            raise ValueError(f"views must be 'depth', 'color' or 'both', got {views!r}")
        if not 0 < weight < 1:
            raise ValueError(f"color_weight must lie in (0, 1), got {weight}; views='depth' or 'color' takes one alone")
        if depth_head is None:
            raise ValueError(f'views={views!r} needs a zero_shot_head')
        if head is None or isinstance(head, dict):
            head = dict(dict(
                type='ZeroShotHead', templates='imagenet', branches='pretrained', aggregation=depth_head.aggregation,
                logit_scale=depth_head.logit_scale, text_cache_dir=depth_head.text_cache_dir), **(head or {}))
            if head['type'] == 'WeightedViewHead' or isinstance(depth_head, WeightedViewHead):
                raise ValueError(f'views={views!r} adds the logits of two heads, which those of a WeightedViewHead are '
                                 'not made for: take ZeroShotHead or TwoStepHead')
        self.views, self.weight, self.head = views, weight, build_component(head)
        if self.head.aggregation != depth_head.aggregation:
            raise ValueError(f'the aggregation of color_head, {self.head.aggregation!r}, must be that of '
                             f'zero_shot_head, {depth_head.aggregation!r}: their logits are added')
        absent = set(self.head.required_branches) - set(branches)
        if absent:
            raise ValueError(f"color_head uses the {absent.pop()!r} branch, which the backbone does not have; set its "
                             "branches='pretrained'")
        if depth_head.class_names is not None:
            self.head.set_vocabulary(depth_head.class_names)
        self._said = False

    @property
    def is_trained(self) -> bool:
        """Whether color views are encoded by the tuned branch, which is then aligned with them, too."""
        return 'tuned' in self.head.required_branches

    def set_vocabulary(self, class_names: Sequence[str], templates: str | Path | Sequence[str] | None = None) -> None:
        """Set the classes; ``templates`` are those of color views only where these are alone."""
        self.head.set_vocabulary(class_names, templates if self.views == 'color' else None)

    def rows(self, features: Tensor | None, has_color: Tensor | None, count: int | None = None) -> Tensor:
        """Return which objects have color views, bool (B,); say it once if some do not.

        Args:
            features: Color views of B objects or their features; None where no object has colors.
            has_color: Bool (B,), by default all.
            count: Number B of objects that are classified.

        Raises:
            ValueError: ``views='color'`` and an object has none, or the color views are of other objects.
        """
        if features is None:
            rows = torch.zeros(count or 0, dtype=torch.bool)
        else:
            device = features.device
            rows = torch.ones(len(features), dtype=torch.bool) if has_color is None else has_color
            rows = rows.to(device)
            if len(rows) != len(features) or count not in (None, len(features)):
                raise ValueError(f'there are {count or len(rows)} objects, but color views of {len(features)}')
        missing = int((~rows).sum())
        if self.views == 'color' and (missing or features is None):
            raise ValueError(f"{missing or 'all'} of {len(rows) or 'the'} objects have no colors, which views='color' "
                             "needs; take views='depth', or 'both', which then takes their depth views alone")
        if missing and not self._said:
            self._said = True
            print_log('objects without colors are classified by their depth views alone', 'current', logging.WARNING)
        return rows

    def mix(self, depth: Tensor | None, color: Tensor | None, has_color: Tensor | None, are_logits: bool) -> Tensor:
        """Add the logits of depth views and color views: (1 - weight) depth + weight color.

        Scores of ``aggregation='softmax_sum'`` are exponentials of logits, up to the number of views, and are
        multiplied instead, so that scores and logits rank the classes in one order.

        Args:
            depth: Float32 (B, C) of the depth views; None for ``views='color'``.
            color: Float32 (B, C) of the color views; None where no object has colors.
            has_color: Bool (B,), the objects whose color views count; default: all.
            are_logits: Whether both are of :meth:`ZeroShotHead.class_logits`, not of :meth:`ZeroShotHead.scores`.
        """
        rows = self.rows(color, has_color, None if depth is None else len(depth))
        if depth is None:
            assert color is not None  # :meth:`rows` has looked
            return color
        if color is None:
            return depth
        if are_logits or self.head.aggregation == 'sum':
            mixed = (1 - self.weight) * depth + self.weight * color
        else:
            mixed = depth ** (1 - self.weight) * color ** self.weight
        return torch.where(rows[:, None], mixed, depth)

    def views_of_training(self) -> tuple[str, ...]:
        """Return the names of the views that a training takes.

        Raises:
            ValueError: Nothing can be trained.
        """
        if self.views == 'color' and not self.is_trained:
            raise ValueError("views='color' with the pretrained branch has nothing to train: set color_head.branches="
                             "'tuned', or views='depth' or 'both'")
        return ('depth_views', ) * (self.views == 'both') + ('color_views', ) * self.is_trained

    def aligned_features(self, views: dict[str, Tensor], has_color: Tensor | None,
                         encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Pool view features for alignment: the mean of both kinds by their weights, of depth alone without colors.

        Args:
            views: ``color_views`` (B, V, 3, H, W) and, unless they are alone, ``depth_views``.
            has_color: Bool (B,), the objects with colors; default: all.
            encode: Function from views to their L2-normalized features (B, V, D).

        Returns:
            Float32 (B, D), L2-normalized.

        Raises:
            ValueError: A kind of views is missing.
        """
        missing = [name for name in self.views_of_training() if name not in views]
        if missing:
            raise ValueError(f'a training with views={self.views!r} needs {" and ".join(missing)}; the pipeline needs '
                             'ProjectPointsToColor and ProjectPointsToDepth')
        color = encode(views['color_views'])
        rows = self.rows(color, has_color)
        if self.views == 'color':
            return object_features(color)
        depth = encode(views['depth_views'])
        with full_precision(depth):
            share = self.weight * rows.to(depth.device).float()[:, None]
            return F.normalize((1 - share) * depth.float().mean(1) + share * color.float().mean(1), dim=-1)
