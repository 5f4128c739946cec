"""Base of the models of views: views to features of the branches of a CLIP, and features to embeddings of shapes."""
from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
import torch.nn.functional as F

from .clip_backbone import CLIPDepthBackbone
from .contrastive_head import object_features
from .image_branches import BRANCHES
from .pixels import ViewDataPreprocessor, checked_views
from .zero_shot_model import (
    Component,
    ViewBranches,
    ZeroShotModel,
    build_component,
    embed_views,
    full_precision,
    select_views,
)


class ViewEncoder(ZeroShotModel):
    """Base of models that embed shapes by a CLIP on their views.

    Args:
        backbone: A ``CLIPDepthBackbone`` or its config.
        data_preprocessor: A data preprocessor or its config; default: ``ViewDataPreprocessor``.
        encode_batch_size: Number of views per pass of the backbone where no gradient is needed; None: its
            ``views_per_pass``, which bounds the memory.
        return_embeddings: Whether mode ``'predict'`` also returns embeddings.
        init_cfg: Initialization config of mmengine.
    """

    required_input = 'depth_views'
    stored_input = 'depth_tokens'
    remedy = 'put ProjectPointsToDepth before PackShapeInputs in the pipeline'

    def __init__(self, backbone: Component, data_preprocessor: Component | None, encode_batch_size: int | None,
                 return_embeddings: bool, init_cfg: dict | None) -> None:
        built: CLIPDepthBackbone = build_component(backbone)
        super().__init__(data_preprocessor or ViewDataPreprocessor(),
                         built.views_per_pass if encode_batch_size is None else encode_batch_size, return_embeddings,
                         init_cfg)
        self.backbone = built

    @overload
    def encode_views(self, views: torch.Tensor, branch: str) -> torch.Tensor:
        ...

    @overload
    def encode_views(self, views: torch.Tensor, branch: tuple[str, ...] | list[str]) -> dict[str, torch.Tensor]:
        ...

    def encode_views(self, views, branch):
        """Embed views.

        Args:
            views: Float in [0, 1] or uint8, (B, V, H, W), gray, or (B, V, 3, H, W).
            branch: ``'pretrained'`` or ``'tuned'``; or several, computed in one pass.

        Returns:
            Float32 (B, V, D), each view L2-normalized. For several branches: a dict of them.

        Raises:
            ValueError: The views have a wrong shape, are not in [0, 1] or all black, or the backbone does not have the
                branch.
            TypeError: The views are neither floating point nor uint8.
        """
        return self._encode(checked_views(dict(views=views))['views'], branch)

    def _encode(self, views: torch.Tensor, branch: Any) -> Any:
        """Embed views that have been checked."""
        branches = (branch, ) if isinstance(branch, str) else tuple(branch)
        features = {}
        for name, embeddings in embed_views(self.backbone, views, branches, self.encode_batch_size).items():
            with full_precision(views):
                features[name] = F.normalize(embeddings.float(), dim=-1)
        return features[branch] if isinstance(branch, str) else features

    def encode_inputs(self, inputs: Mapping[str, torch.Tensor], branches: Sequence[str] | None = None
                      ) -> dict[str, torch.Tensor]:
        """Embed the shapes of a preprocessed batch.

        Args:
            inputs: ``depth_views`` float (B, V, H, W) in [0, 1].
            branches: Branches to compute; default: all that the model has.

        Returns:
            Branch -> float32 (B, V, D), each view L2-normalized.
        """
        if 'depth_views' not in inputs:
            raise ValueError(f"shapes are embedded by their 'depth_views', got only {sorted(inputs)}; put "
                             'ProjectPointsToDepth before PackShapeInputs in the pipeline')
        return self.encode_views(inputs['depth_views'], tuple(branches or self.branches))

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches of the backbone: names in the result of :meth:`encode_inputs`."""
        return self.backbone.branches

    @property
    def clip_backbone(self) -> CLIPDepthBackbone:
        """The CLIP of texts and images."""
        return self.backbone

    # --- embeddings ---

    @property
    def embedding_branches(self) -> ViewBranches:
        """The branch that :meth:`embed_shapes` takes each view from: that of the zero-shot head, if there is one."""
        if self.zero_shot_head is not None:
            return self.zero_shot_head.branches
        return 'both' if len(self.backbone.branches) > 1 else 'pretrained'

    @torch.no_grad()
    def embed_shapes(self, views: torch.Tensor) -> torch.Tensor:
        """Embed shapes for retrieval: the normalized mean of the view features of each.

        Each view comes from the branch of ``embedding_branches``, so that cosines with texts rank as zero-shot
        classification with ``aggregation='sum'`` does.

        Args:
            views: Float in [0, 1] or uint8, (B, V, H, W) or (B, V, 3, H, W), depth views.

        Returns:
            Float32 (B, D), L2-normalized.
        """
        needed = BRANCHES if self.embedding_branches == 'both' else (self.embedding_branches, )
        return self.pool_views(self.encode_views(views, needed))

    def pool_views(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Pool the view features of :meth:`encode_views` to the embeddings of :meth:`embed_shapes`.

        Args:
            features: Branch -> (B, V, D), with ``embedding_branches`` at least.

        Returns:
            Float32 (B, D), L2-normalized.
        """
        return object_features(self.view_features(features))

    def view_features(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the view features that few-shot classification takes, float32 (B, V, D).

        Args:
            features: Branch -> (B, V, D), with ``embedding_branches`` at least.
        """
        return select_views(features.get('pretrained'), features.get('tuned'), self.embedding_branches)

    @torch.no_grad()
    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Embed the images of objects with the pretrained branch.

        Args:
            images: Float (B, V, 3, H, W) in [0, 1].

        Returns:
            Float32 (B, D), L2-normalized.
        """
        return object_features(self.encode_views(images, 'pretrained'))
