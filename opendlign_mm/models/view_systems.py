"""Compared systems on depth views: their base, whose adapters learn from a few labeled objects, and PointCLIP (V2)."""
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS

from ..structures import ShapeDataSample
from .image_branches import BRANCHES
from .opendlign import OpenDlign
from .pixels import checked_views
from .weighted_view_head import WeightedViewHead
from .zero_shot_model import Component, ViewBranches, build_component, embed_views, full_precision

# Entries of encoded views besides the branches: the embeddings of a branch before normalization.
RAW = 'raw_'


class ViewSystem(OpenDlign):
    """Base of the compared systems: an ``OpenDlign`` whose adapter, if it has one, classifies in its head's place.

    Mode ``'loss'`` trains the adapter with the labels of the data samples, everything else is frozen; the vocabulary
    has to be the classes that the labels index, which ``VocabularyFromDatasetHook`` cares for.

    Args:
        backbone: A CLIP backbone or its config.
        zero_shot_head: A head or its config.
        adapter: An adapter or its config; its ``channels`` are those of the backbone by default.
        label_smoothing: Share of the target that the other classes have together, in [0, 1).
        kwargs: ``data_preprocessor``, ``encode_batch_size``, ``compare_pretrained``, ``return_embeddings`` and
            ``init_cfg`` of :class:`OpenDlign`. With an adapter ``compare_pretrained`` compares with the scores without
            it.
    """

    def __init__(self, backbone: Component, zero_shot_head: Component | None = None, adapter: Component | None = None,
                 label_smoothing: float = 0., **kwargs) -> None:
        if kwargs.get('views', 'depth') != 'depth':
            raise ValueError(f"{type(self).__name__} classifies by depth views alone, got views={kwargs['views']!r}; "
                             'color views are for OpenDlign')
        super().__init__(backbone, None, zero_shot_head, **kwargs)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing must lie in [0, 1), got {label_smoothing}')
        self.label_smoothing = label_smoothing
        if isinstance(adapter, dict):
            adapter = dict({'channels': self.backbone.embed_dim}, **adapter)
        self.adapter: Any = None if adapter is None else build_component(adapter)

    @property
    def trains_on_classes(self) -> bool:
        """Whether mode ``'loss'`` needs labels and the vocabulary of the training set."""
        return self.adapter is not None

    def loss(self, inputs: dict[str, torch.Tensor], data_samples: Sequence[ShapeDataSample] | None = None
             ) -> dict[str, torch.Tensor]:
        """Compute the cross-entropy of the adapter's scores.

        Args:
            inputs: ``depth_views`` float (B, V, H, W) in [0, 1].
            data_samples: B samples with ``gt_label``.

        Returns:
            ``loss_classification`` and ``accuracy`` in [0, 1], float32 scalars.

        Raises:
            RuntimeError: The model has no adapter, or no vocabulary.
            ValueError: A sample has no label, or one outside the vocabulary.
        """
        if self.adapter is None:
            raise RuntimeError(f"{type(self).__name__} without an adapter has nothing to train: give adapter=dict(type="
                               f"...) in the config, or test it with tools/test.py")
        views = checked_views(dict(depth_views=inputs['depth_views']))['depth_views']
        with torch.no_grad():
            features = self._raw_features(views)
        logits = self._adapted_logits(self._adapted(features)) * self._adapted_scale()
        labels = self._labels(data_samples, logits.shape[1]).to(logits.device)
        if len(labels) != len(logits):
            raise ValueError(f'there are {len(logits)} objects, but {len(labels)} data samples')
        # PyTorch would share the smoothed part among all classes; the released code does among the other ones.
        smoothing = self.label_smoothing if logits.shape[1] > 1 else 0.
        target = torch.full_like(logits, smoothing / max(logits.shape[1] - 1, 1), requires_grad=False)
        target.scatter_(1, labels[:, None], 1 - smoothing)
        return dict(loss_classification=F.cross_entropy(logits, target),
                    accuracy=(logits.detach().argmax(1) == labels).float().mean())

    @staticmethod
    def _labels(data_samples: Sequence[ShapeDataSample] | None, num_classes: int) -> torch.Tensor:
        if not data_samples or any('gt_label' not in sample for sample in data_samples):
            raise ValueError('the adapter learns from labels, which the training samples do not have; take a dataset '
                             'with classes')
        labels = torch.cat([sample.gt_label for sample in data_samples])
        if int(labels.max()) >= num_classes:
            raise ValueError(f'a sample has label {int(labels.max())}, but the vocabulary has {num_classes} classes; '
                             'set it to the classes of the training set')
        return labels

    # --- scores -------------------------------------------------------------------------------------------------------

    adapted_branches: tuple[str, ...] = BRANCHES[:1]

    def _raw_features(self, views: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the embeddings (B, V, D) that the adapter takes, without normalization, in float32."""
        embeddings = embed_views(self.backbone, views, self.adapted_branches, self.encode_batch_size)
        return {RAW + name: values.float() for name, values in embeddings.items()}

    def _adapted(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Adapt the result of :meth:`_raw_features`: float32 (B, V, D), or (B, 1, D) where views are fused."""
        raise NotImplementedError

    def _adapted_logits(self, adapted: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, C) without the logit scale from the result of :meth:`_adapted`."""
        raise NotImplementedError

    def _adapted_scale(self) -> torch.Tensor | float:
        """Return the factor of the logits."""
        return 1.

    def _features_for_scores(self, views: torch.Tensor, also: Sequence[str] = ()) -> dict[str, torch.Tensor]:
        if self.adapter is None:
            return super()._features_for_scores(views, also)
        features = self._raw_features(views)
        with full_precision(views):
            normalized = {name.removeprefix(RAW): F.normalize(values, dim=-1) for name, values in features.items()}
        return dict(features, **normalized)

    def _scores(self, features: dict[str, torch.Tensor], branches: ViewBranches | None = None) -> torch.Tensor:
        is_raw = any(name.startswith(RAW) for name in features)
        if self.adapter is not None and is_raw and branches is None:
            return self._adapted_logits(self._adapted(features)) * self._adapted_scale()
        normalized = {name: values for name, values in features.items() if not name.startswith(RAW)}
        return super()._scores(normalized, branches)

    @torch.no_grad()
    def encode_for_classes(self, views: torch.Tensor) -> torch.Tensor:
        """Encode views as :meth:`class_logits_of` takes them, with the adapter if there is one."""
        if self.adapter is None:
            return super().encode_for_classes(views)
        return self._adapted(self._raw_features(checked_views(dict(views=views))['views']))

    @torch.no_grad()
    def class_logits_of(self, view_features: torch.Tensor | None, color_features: torch.Tensor | None = None,
                        has_color: torch.Tensor | None = None) -> torch.Tensor:
        """Compute logits (B, C) of the classes from the result of :meth:`encode_for_classes`."""
        if self.adapter is None:
            return super().class_logits_of(view_features)
        assert view_features is not None  # color views are refused
        return self._adapted_logits(view_features)


@MODELS.register_module()
class PointCLIP(ViewSystem):
    """PointCLIP and PointCLIP V2: weighted views of CLIP's image tower, and PointCLIP's inter-view adapter.

    PointCLIP V2 is the same model on the views of ``RealisticProjection``, with its view weights and sentences.

    Args:
        backbone: A ``CLIPDepthBackbone(num_blocks=0)`` or its config. The released code gives CLIP its pixels without
            CLIP's mean and standard deviation, see :class:`PointCLIPProjection`.
        zero_shot_head: A ``WeightedViewHead`` or its config.
        adapter: An ``InterViewAdapter`` or its config, for few-shot classification.
        label_smoothing: 0.2 in the released code.
        kwargs: Further arguments of :class:`ViewSystem`.
    """

    zero_shot_head: WeightedViewHead

    def __init__(self, backbone: Component, zero_shot_head: Component | None = None, adapter: Component | None = None,
                 label_smoothing: float = .2, **kwargs) -> None:
        super().__init__(backbone, zero_shot_head or WeightedViewHead(), adapter, label_smoothing, **kwargs)
        if not isinstance(self.zero_shot_head, WeightedViewHead):
            raise ValueError(f'PointCLIP weighs its views: zero_shot_head must be a WeightedViewHead, got a '
                             f'{type(self.zero_shot_head).__name__}')

    def _adapted(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        adapted = self.adapter(features[f'{RAW}pretrained'])
        with full_precision(adapted):  # all views of an object have one norm
            return F.normalize(adapted.float().flatten(1), dim=-1).view_as(adapted)

    def _adapted_logits(self, adapted: torch.Tensor) -> torch.Tensor:
        with full_precision(adapted):
            return self.zero_shot_head.weigh_views(adapted @ self.class_features().t())

    def _adapted_scale(self) -> torch.Tensor | float:
        return self.zero_shot_head.factor(self.backbone.logit_scale.float().exp())
