"""The OpenDlign model: aligns depth views with images, and classifies shapes by their depth views and color views."""
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from mmdet3d.registry import MODELS

from ..structures import ShapeDataSample
from .alignment import AligningModel
from .color_views import ColorViews, Views
from .contrastive_head import DepthImageContrastiveHead, object_features
from .image_branches import BRANCHES
from .pixels import checked_views
from .zero_shot_head import ZeroShotHead
from .zero_shot_model import Component, ViewBranches, select_views


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
        encode_batch_size: Number of views per pass of the backbone where no gradient is needed; None: as many as keep
            its memory within bounds, at most 256 (``views_per_pass`` of the backbone).
        compare_pretrained: In mode ``'predict'`` also return ``pred_scores_pretrained``, the scores with all views
            from the pretrained branch: the model as it was before alignment.
        return_embeddings: In mode ``'predict'`` also return ``depth_embedding`` (D,), see :meth:`embed_shapes`, and,
            where there are images, ``image_embedding`` (D,): the inputs of ``RetrievalRecall``.
        views: What classifies: ``'depth'`` views as in the paper; ``'color'`` views of points with colors (see
            ``ProjectPointsToColor``); or ``'both'``, whose logits are added, where an object without colors has depth
            views alone. Embeddings for retrieval and few-shot classification are of depth views.
        color_head: A ``ZeroShotHead`` of color views or its config, such as ``dict(templates=[...])``; default: CLIP's
            prompts of photos and its pretrained branch. With ``branches='tuned'`` mode ``'loss'`` aligns color views,
            too.
        color_weight: Share of the color views in the logits of ``'both'``, in (0, 1).
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: A head uses a branch that the backbone does not have, a pair of the alignment head would train
            nothing, or an option is wrong.
    """

    alignment_head: DepthImageContrastiveHead | None
    zero_shot_head: ZeroShotHead | None

    def __init__(self,
                 backbone: Component,
                 alignment_head: Component | None = None,
                 zero_shot_head: Component | None = None,
                 data_preprocessor: Component | None = None,
                 encode_batch_size: int | None = None,
                 compare_pretrained: bool = False,
                 return_embeddings: bool = False,
                 views: Views = 'depth',
                 color_head: Component | None = None,
                 color_weight: float = .5,
                 init_cfg: dict | None = None) -> None:
        super().__init__(backbone, data_preprocessor, encode_batch_size, return_embeddings, init_cfg)
        self.compare_pretrained = compare_pretrained
        self.build_heads(alignment_head, zero_shot_head)
        if self.alignment_head is not None:
            self.alignment_head.init_logit_scale_from(self.backbone.logit_scale)
            self.check_pairs()
        if self.zero_shot_head is not None:
            absent = set(self.zero_shot_head.required_branches) - set(self.backbone.branches)
            if absent:
                raise ValueError(f'the zero-shot head uses the {absent.pop()!r} branch, which the backbone does not '
                                 "have; set branches='pretrained' or num_blocks >= 1")
        self.views: Views = views
        self.color = None if views == 'depth' else ColorViews(
            views, color_head, color_weight, self.zero_shot_head, self.backbone.branches)
        if views == 'color':
            self.required_input, self.remedy = 'color_views', 'put ProjectPointsToColor before PackShapeInputs'
        if self.color is not None and return_embeddings:
            raise ValueError(f'return_embeddings are those of depth views: set views="depth", got {views!r}')

    # --- modes ---

    @torch.no_grad()
    def predict(self, inputs: dict[str, torch.Tensor], data_samples: list[ShapeDataSample] | None = None
                ) -> list[ShapeDataSample]:
        """Classify a batch; see :meth:`forward`.

        Args:
            inputs: ``depth_views`` float (B, V, H, W) in [0, 1]; where ``views`` says so ``color_views`` float
                (B, V, 3, H, W) in [0, 1] and ``has_color`` bool (B,), by default all True.
            data_samples: B samples; new ones are made if absent.
        """
        used = self._used_views + ('images', ) * self.return_embeddings
        views = checked_views({name: inputs[name] for name in used if name in inputs})
        features = {} if self.views == 'color' else self._features_for_scores(
            views['depth_views'], BRANCHES[:1] if self.compare_pretrained else ())
        colors, fields = (views.get('color_views'), inputs.get('has_color')), dict()
        if self.compare_pretrained:
            fields['pred_scores_pretrained'] = self._with_colors(features, *colors, branches='pretrained')
        if self.return_embeddings:
            fields['depth_embedding'] = self.pool_views(features)
            if 'images' in views:
                fields['image_embedding'] = object_features(self._encode(views['images'], 'pretrained'))
        return self.fill_samples(data_samples, self._with_colors(features, *colors), fields)

    # --- classification ---

    def set_vocabulary(self, class_names: Sequence[str], templates: str | Path | Sequence[str] | None = None) -> None:
        """Set the classes of mode ``'predict'``; see :meth:`ZeroShotHead.set_vocabulary`.

        With ``views='color'`` the templates are those of color views, otherwise those of depth views.
        """
        if self.color is None:
            return super().set_vocabulary(class_names, templates)
        self.color.set_vocabulary(class_names, templates)
        super().set_vocabulary(class_names, None if self.views == 'color' else templates)

    def class_features(self, of: Literal['depth', 'color'] | None = None) -> torch.Tensor:
        """Return the features of the vocabulary: float32 (C, D), L2-normalized, on the device of the model.

        Args:
            of: Kind of views whose prompts are meant; default: depth views, unless color views are alone.
        """
        of = of or ('color' if self.views == 'color' else 'depth')
        head = self.head_for('class features') if of == 'depth' or self.color is None else self.color.head
        return head.vocabulary_features(self.backbone.encode_text, self.backbone.text_encoder_key,
                                        self.backbone.logit_scale.device, self.backbone.check_prompts)

    @torch.no_grad()
    def zero_shot(self, views: torch.Tensor | None = None, color_views: torch.Tensor | None = None,
                  has_color: torch.Tensor | None = None) -> torch.Tensor:
        """Classify objects.

        Args:
            views: Float in [0, 1] or uint8, (B, V, H, W) or (B, V, 3, H, W), depth views, unless color views are alone.
            color_views: Float in [0, 1] or uint8, (B, V, 3, H, W), where the model takes them.
            has_color: Bool (B,), the objects with colors; default: all.

        Returns:
            Float32 (B, C), aggregated over the views; higher is better.
        """
        given = dict(depth_views=views, color_views=color_views)
        checked = checked_views({name: value for name, value in given.items()
                                 if name in self._used_views and value is not None})
        features = {} if self.views == 'color' else self._features_for_scores(checked['depth_views'])
        return self._with_colors(features, checked.get('color_views'), has_color)

    @torch.no_grad()
    def class_logits(self, views: torch.Tensor | None = None, color_views: torch.Tensor | None = None,
                     has_color: torch.Tensor | None = None) -> torch.Tensor:
        """Compute logits (B, C) of the classes by :meth:`ZeroShotHead.class_logits`; arguments of :meth:`zero_shot`."""
        depth = None if self.views == 'color' or views is None else self.encode_for_classes(views)
        color = None if color_views is None or self.color is None else self.encode_colors(color_views)
        return self.class_logits_of(depth, color, has_color)

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
    def encode_colors(self, color_views: torch.Tensor, branches: ViewBranches | None = None) -> torch.Tensor:
        """Encode color views, float in [0, 1] or uint8 (B, V, 3, H, W), by the branch of their head: (B, V, D)."""
        branches = branches or self.needed(self.color, "views='color' or 'both'", 'the use of colors').head.branches
        features = self.encode_views(color_views, BRANCHES if branches == 'both' else (branches, ))
        return select_views(features.get('pretrained'), features.get('tuned'), branches)

    @torch.no_grad()
    def class_logits_of(self, view_features: torch.Tensor | None, color_features: torch.Tensor | None = None,
                        has_color: torch.Tensor | None = None) -> torch.Tensor:
        """Compute logits (B, C) of the classes.

        Args:
            view_features: Result (B, V, D) of :meth:`encode_for_classes`; not used where color views are alone.
            color_features: Result (B, V, D) of :meth:`encode_colors`, where the model takes them.
            has_color: Bool (B,), the objects with colors; default: all.
        """
        scale = self.backbone.logit_scale.float().exp()
        if self.views == 'color':
            view_features = None
        else:
            view_features = self.head_for('zero-shot classification').class_logits(
                self.class_features(), pretrained=view_features, tuned=view_features, clip_logit_scale=scale)
        if self.color is None:
            assert view_features is not None
            return view_features
        if color_features is not None:
            color_features = self.color.head.class_logits(
                self.class_features('color'), pretrained=color_features, tuned=color_features, clip_logit_scale=scale)
        return self.color.mix(view_features, color_features, has_color, are_logits=True)

    def _with_colors(self, features: dict[str, torch.Tensor], color_views: torch.Tensor | None,
                     has_color: torch.Tensor | None, branches: ViewBranches | None = None) -> torch.Tensor:
        """Score features of depth views, none where color views are alone, and checked color views if there are."""
        depth = self._scores(features, branches) if features else None
        if self.color is None:
            assert depth is not None
            return depth
        color = None
        if color_views is not None and (has_color is None or bool(has_color.any())):
            encoded = self.encode_colors(color_views, branches)
            color = self.color.head.scores(self.class_features('color'), pretrained=encoded, tuned=encoded,
                                           clip_logit_scale=self.backbone.logit_scale.float().exp())
        return self.color.mix(depth, color, has_color, are_logits=False)

    @property
    def kinds_of_views(self) -> tuple[Literal['depth', 'color'], ...]:
        """The kinds of views that classify."""
        return ('depth', 'color') if self.views == 'both' else (self.views, )

    @property
    def _used_views(self) -> tuple[str, ...]:
        return tuple(f'{kind}_views' for kind in self.kinds_of_views)

    def _features_for_scores(self, views: torch.Tensor, also: Sequence[str] = ()) -> dict[str, torch.Tensor]:
        """Encode checked views by the branches that the head scores with and those in ``also``, in one pass."""
        head = self.head_for('zero-shot classification')
        needed = {*head.required_branches, *also}
        return self._encode(views, tuple(name for name in BRANCHES if name in needed))

    @torch.no_grad()
    def scores_of_features(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Score the features of :meth:`encode_inputs` by the zero-shot head: float32 (B, C), higher is better.

        Raises:
            ValueError: The model also takes color views, of which these features are not.
        """
        if self.color is not None:
            raise ValueError(f'features of depth views alone are scored: set views="depth", got {self.views!r}')
        return self._scores(features)

    def _scores(self, features: dict[str, torch.Tensor], branches: ViewBranches | None = None) -> torch.Tensor:
        head = self.head_for('zero-shot classification')
        return head.scores(self.class_features(), **features, branches=branches,
                           clip_logit_scale=self.backbone.logit_scale.float().exp())
