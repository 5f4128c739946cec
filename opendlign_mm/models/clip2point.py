"""CLIP2Point: a copy of CLIP's image tower that learns depth maps (Huang et al., ICCV 2023), and its losses."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import nn

from ..structures import ShapeDataSample
from .contrastive_head import gather_with_gradient, retrieval_accuracies
from .image_branches import BRANCHES
from .pixels import checked_views
from .twin_backbone import CLIPTwinBackbone
from .view_systems import RAW, ViewSystem
from .zero_shot_model import Component, ViewBranches, embed_views, full_precision


@MODELS.register_module()
class CLIP2Point(ViewSystem):
    """CLIP2Point: a copy of CLIP's image tower that learns depth maps, and a dual-path adapter.

    Without an adapter mode ``'loss'`` is the pre-training of the depth tower: ``inputs`` have two ``depth_views`` of
    each object, rendered from one side at two distances (``RenderDepthPair``), and ``images`` of the same side, of
    which the first is used. The image loss compares the mean of both depth features with the image feature, the depth
    loss both depth features; its weight 1 / w^2 is learned. Negatives are the objects of all processes, where the
    released code has those of one GPU.

    With an adapter both towers are frozen, and the adapter is trained.

    Args:
        backbone: A ``CLIPTwinBackbone`` or its config.
        zero_shot_head: A ``ZeroShotHead`` or its config; ``aggregation='sum'`` and ``branches='tuned'`` are the
            released ones.
        adapter: A ``DualPathAdapter`` or its config, for few-shot classification; scores are cosines without a scale.
        temperature: Divisor of the cosines of pre-training.
        kwargs: Further arguments of :class:`ViewSystem`.
    """

    adapted_branches = BRANCHES

    def __init__(self, backbone: Component, zero_shot_head: Component | None = None, adapter: Component | None = None,
                 temperature: float = .07, **kwargs) -> None:
        super().__init__(backbone, zero_shot_head, adapter, **kwargs)
        if not isinstance(self.backbone, CLIPTwinBackbone):
            raise ValueError('CLIP2Point trains a copy of the image tower: backbone must be a CLIPTwinBackbone, got a '
                             f'{type(self.backbone).__name__}')
        if not temperature > 0:
            raise ValueError(f'temperature must be > 0, got {temperature}')
        self.temperature = temperature
        self.depth_weight = nn.Parameter(torch.ones(()))
        if self.adapter is not None:
            self.backbone.freeze()
            self.depth_weight.requires_grad_(False)

    @property
    def embedding_branches(self) -> ViewBranches:
        """The branch that shapes are embedded by: that of the zero-shot head, without one the depth tower."""
        return 'tuned' if self.zero_shot_head is None else self.zero_shot_head.branches

    def loss(self, inputs: dict[str, torch.Tensor], data_samples: Sequence[ShapeDataSample] | None = None
             ) -> dict[str, torch.Tensor]:
        """Compute the loss of the adapter, see :meth:`ViewSystem.loss`, or without one that of the pre-training.

        Returns:
            Pre-training: ``loss_image``, ``loss_depth``, ``loss_weight`` and ``depth_to_image_accuracy`` in [0, 1].

        Raises:
            ValueError: There are not two depth views of each object, or neither images nor their features.
        """
        if self.adapter is not None:
            return super().loss(inputs, data_samples)
        if not {'images', 'image_features'} & set(inputs):
            raise ValueError("pre-training needs 'images' in addition to 'depth_views': the pipeline has to make or "
                             'load them')
        given = dict(depth_views=inputs['depth_views'])
        if 'images' in inputs:
            given['images'] = inputs['images'][:, :1]
        views = checked_views(given)
        if views['depth_views'].shape[1] != 2:
            raise ValueError('pre-training needs two depth views of each object, from one side at two distances, got '
                             f"{views['depth_views'].shape[1]}; put RenderDepthPair in the pipeline")
        size = self.encode_batch_size
        first, second = embed_views(self.backbone, views['depth_views'], ('tuned', ), size)['tuned'].unbind(1)
        with torch.no_grad():
            image = (embed_views(self.backbone, views['images'], ('pretrained', ), size)['pretrained'][:, 0]
                     if 'images' in views else inputs['image_features'][:, 0])
        return self.contrast(first, second, image)

    def contrast(self, first: torch.Tensor, second: torch.Tensor, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the losses of pre-training.

        Args:
            first: Features (B, D) of depth maps at one distance; B equal on all processes.
            second: Features (B, D) at the other distance.
            image: Features (B, D) of the images.
        """
        with full_precision(first):
            first, second, image = (gather_with_gradient(features.float()) for features in (first, second, image))
            both = (first + second) / 2
            weight = self.depth_weight.float()
            losses = dict(loss_image=nt_xent(both, image, self.temperature),
                          loss_depth=nt_xent(first, second, self.temperature) / weight.square(),
                          loss_weight=torch.log(weight + 1))
            cosines = F.normalize(both.detach(), dim=-1) @ F.normalize(image, dim=-1).t()
        return dict(losses, depth_to_image_accuracy=retrieval_accuracies(cosines)[0])

    def _adapted(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        adapted = self.adapter(features[f'{RAW}tuned'], features[f'{RAW}pretrained'])
        with full_precision(adapted):
            return F.normalize(adapted.float(), dim=-1)[:, None]

    def _adapted_logits(self, adapted: torch.Tensor) -> torch.Tensor:
        with full_precision(adapted):
            return adapted[:, 0] @ self.class_features().t()


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute the normalized, temperature-scaled cross-entropy of pairs (SimCLR), a scalar.

    Args:
        first: Features (B, D); row i of both belong together, all other 2B - 2 features are negatives.
        second: Features (B, D).
        temperature: Divisor of the cosines.
    """
    features = F.normalize(torch.cat((first, second)), dim=-1)
    logits = features @ features.t() / temperature
    logits = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool, device=logits.device), float('-inf'))
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device).roll(len(first)))
