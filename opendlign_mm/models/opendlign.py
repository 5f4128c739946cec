"""The OpenDlign model: aligns depth views with images, and classifies and embeds shapes by their depth views."""
from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS

from ..structures import ShapeDataSample
from .alignment import AligningModel
from .clip_backbone import CLIPDepthBackbone
from .contrastive_head import DepthImageContrastiveHead, object_features
from .image_branches import BRANCHES
from .pixels import ViewDataPreprocessor, checked_views
from .zero_shot_head import ViewBranches, ZeroShotHead, select_views
from .zero_shot_model import Component, build_component, embed_views, full_precision


@MODELS.register_module()
class OpenDlign(AligningModel):
    """CLIP depth backbone, alignment head and zero-shot head in one mmengine model (OpenDlign, section 3).

    Modes of :meth:`forward`: ``'loss'`` aligns the tuned branch on depth views with the pretrained branch on images,
    ``'predict'`` classifies, ``'tensor'`` embeds.

    Args:
        backbone: A ``CLIPDepthBackbone`` or its config.
        alignment_head: A ``DepthImageContrastiveHead`` or its config; needed for mode ``'loss'`` only.
        zero_shot_head: A ``ZeroShotHead`` or its config; needed for ``'predict'`` and :meth:`zero_shot`.
        data_preprocessor: A data preprocessor or its config; default: ``ViewDataPreprocessor``.
        encode_batch_size: Number of views per pass of the backbone where no gradient is needed.
        compare_pretrained: In mode ``'predict'`` also return ``pred_scores_pretrained``, the scores with all views
            from the pretrained branch: the model as it was before alignment.
        return_embeddings: In mode ``'predict'`` also return ``depth_embedding`` (D,), see :meth:`embed_shapes`, and,
            where there are images, ``image_embedding`` (D,): the inputs of ``RetrievalRecall``.
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: The zero-shot head uses a branch that the backbone does not have, a pair of the alignment head would
            train nothing, or ``encode_batch_size`` < 1.
    """

    required_input = 'depth_views'
    remedy = 'put ProjectPointsToDepth before PackShapeInputs in the pipeline'
    alignment_head: DepthImageContrastiveHead | None
    zero_shot_head: ZeroShotHead | None

    def __init__(self,
                 backbone: Component,
                 alignment_head: Component | None = None,
                 zero_shot_head: Component | None = None,
                 data_preprocessor: Component | None = None,
                 encode_batch_size: int = 256,
                 compare_pretrained: bool = False,
                 return_embeddings: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(data_preprocessor or ViewDataPreprocessor(), encode_batch_size, return_embeddings, init_cfg)
        self.compare_pretrained = compare_pretrained
        self.backbone: CLIPDepthBackbone = build_component(backbone)
        self.build_heads(alignment_head, zero_shot_head)
        if self.alignment_head is not None:
            self.alignment_head.init_logit_scale_from(self.backbone.logit_scale)
            self.check_pairs()
        if self.zero_shot_head is not None:
            absent = set(self.zero_shot_head.required_branches) - set(self.backbone.branches)
            if absent:
                raise ValueError(f'the zero-shot head uses the {absent.pop()!r} branch, which the backbone does not '
                                 "have; set branches='pretrained' or num_blocks >= 1")

    # --- modes ---

    @torch.no_grad()
    def predict(self, inputs: dict[str, torch.Tensor], data_samples: list[ShapeDataSample] | None = None
                ) -> list[ShapeDataSample]:
        """Classify a batch with ``depth_views`` float (B, V, H, W) in [0, 1]; see :meth:`forward`."""
        used = ('depth_views', 'images') if self.return_embeddings else ('depth_views', )
        views = checked_views({name: inputs[name] for name in used if name in inputs})
        features = self._features_for_scores(views['depth_views'], BRANCHES[:1] if self.compare_pretrained else ())
        fields = dict()
        if self.compare_pretrained:
            fields['pred_scores_pretrained'] = self._scores(features, 'pretrained')
        if self.return_embeddings:
            fields['depth_embedding'] = self.pool_views(features)
            if 'images' in views:
                fields['image_embedding'] = object_features(self._encode(views['images'], 'pretrained'))
        return self.fill_samples(data_samples, self._scores(features), fields)

    # --- views ---

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
        return self.encode_views(inputs['depth_views'], tuple(branches or self.branches))

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches of the backbone: names in the result of :meth:`encode_inputs`."""
        return self.backbone.branches

    @property
    def clip_backbone(self) -> CLIPDepthBackbone:
        """The CLIP of texts and images."""
        return self.backbone

    # --- classification ---

    def class_features(self) -> torch.Tensor:
        """Return the features of the vocabulary: float32 (C, D), L2-normalized, on the device of the model."""
        head = self.head_for('class features')
        return head.vocabulary_features(self.backbone.encode_text, self.backbone.text_encoder_key,
                                        self.backbone.logit_scale.device)

    @torch.no_grad()
    def zero_shot(self, views: torch.Tensor) -> torch.Tensor:
        """Classify objects.

        Args:
            views: Float in [0, 1] or uint8, (B, V, H, W) or (B, V, 3, H, W), depth views.

        Returns:
            Float32 (B, C), aggregated over the views; higher is better.
        """
        return self._scores(self._features_for_scores(checked_views(dict(views=views))['views']))

    @torch.no_grad()
    def class_logits(self, views: torch.Tensor) -> torch.Tensor:
        """Compute logits of the classes by :meth:`ZeroShotHead.class_logits`.

        Args:
            views: Float in [0, 1] or uint8, (B, V, H, W) or (B, V, 3, H, W), depth views.

        Returns:
            Float32 (B, C).
        """
        return self.class_logits_of(self.encode_for_classes(views))

    @torch.no_grad()
    def encode_for_classes(self, views: torch.Tensor) -> torch.Tensor:
        """Encode each view by the branch that the zero-shot head takes it from.

        Args:
            views: Float in [0, 1] or uint8, (B, V, H, W) or (B, V, 3, H, W), depth views.

        Returns:
            Float32 (B, V, D), each view L2-normalized: all that :meth:`class_logits_of` needs, for any vocabulary.
        """
        return self.view_features(self._features_for_scores(checked_views(dict(views=views))['views']))

    @torch.no_grad()
    def class_logits_of(self, view_features: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, C) of the classes from the result (B, V, D) of :meth:`encode_for_classes`."""
        head = self.head_for('zero-shot classification')
        return head.class_logits(self.class_features(), pretrained=view_features, tuned=view_features,
                                 clip_logit_scale=self.backbone.logit_scale.float().exp())

    def _features_for_scores(self, views: torch.Tensor, also: Sequence[str] = ()) -> dict[str, torch.Tensor]:
        """Encode checked views by the branches that the head scores with and those in ``also``, in one pass."""
        head = self.head_for('zero-shot classification')
        needed = {*head.required_branches, *also}
        return self._encode(views, tuple(name for name in BRANCHES if name in needed))

    @torch.no_grad()
    def scores_of_features(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Score the features of :meth:`encode_inputs` by the zero-shot head: float32 (B, C), higher is better."""
        return self._scores(features)

    def _scores(self, features: dict[str, torch.Tensor], branches: ViewBranches | None = None) -> torch.Tensor:
        head = self.head_for('zero-shot classification')
        return head.scores(self.class_features(), **features, branches=branches,
                           clip_logit_scale=self.backbone.logit_scale.float().exp())

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
