"""The aligner of point encoders: ULIP, OpenShape and TAMM, trained towards texts and images, used as OpenDlign is."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor

from ..structures import ShapeDataSample
from .alignment_adapters import AdapterPair
from .contrastive_head import object_features
from .frozen_targets import FrozenTargetsModel
from .pixels import PointDataPreprocessor
from .stored_class_features import StoredClassFeatures
from .tri_modal_head import TriModalContrastiveHead
from .zero_shot_head import ZeroShotHead
from .zero_shot_model import Component, build_component, full_precision

Clouds = Tensor | Sequence[Tensor]
Embeddings = dict[str, Tensor]


@MODELS.register_module()
class TriModalAligner(FrozenTargetsModel):
    """Point encoder in the feature space of a frozen CLIP (ULIP, OpenShape, TAMM).

    Modes of :meth:`forward`: ``'loss'`` aligns shapes with texts and images, ``'predict'`` classifies, ``'tensor'``
    embeds. Metrics, few-shot classification and retrieval take the model as they take ``OpenDlign``: an embedding of a
    shape stands for a view.

    Args:
        point_encoder: A ``PointBERT``, ``PointPatchTransformer`` or ``SparseResNet``, or its config.
        alignment_head: A ``TriModalContrastiveHead`` or its config; needed for mode ``'loss'`` only.
        text_encoder: A ``CLIPDepthBackbone(num_blocks=0)`` or its config: any CLIP of open_clip. It encodes class
            names, and raw texts and images of a training. None builds without a CLIP (ViT-bigG-14 has 2.5 billion
            parameters): class features come from ``class_features``, and a training needs stored features.
        adapters: TAMM's ``AlignmentAdapter`` towards ``'text'`` and towards ``'image'``, or their configs, which follow
            the encoder. Without them one embedding is compared with both.
        image_adapter: TAMM's ``CLIPImageAdapter`` or its config, trained in the first stage; frozen here.
        branch_weights: Weights of the cosines of the adapters' embeddings in zero-shot classification.
        zero_shot_head: A ``ZeroShotHead`` or its config, of which the vocabulary, the templates and the text cache are
            used. Scores are weighted sums of cosines: ``aggregation='sum'`` and ``branches='pretrained'``.
        class_features: An .npz file of class features, see :class:`StoredClassFeatures`; it replaces the text encoder
            for class names, and is read when they are needed first.
        data_preprocessor: A data preprocessor or its config; default: ``PointDataPreprocessor``.
        encode_batch_size: Number of shapes per pass of the encoder where no gradient is needed.
        return_embeddings: In mode ``'predict'`` also return ``depth_embedding`` (D,), that of the shape under the name
            that ``RetrievalRecall`` knows, and, where there are images or their features, ``image_embedding`` (D,).
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: Options contradict each other.
    """

    # Converted checkpoints hold the point encoder alone; the frozen CLIP comes from the config, or is absent.
    clip_in_checkpoint = False
    embedding_branches = 'pretrained'
    required_input = 'points'
    remedy = 'put PackPointInputs at the end of the pipeline'
    alignment_head: TriModalContrastiveHead | None
    zero_shot_head: ZeroShotHead

    def __init__(self,
                 point_encoder: Component,
                 alignment_head: Component | None = None,
                 text_encoder: Component | None = None,
                 adapters: Mapping[str, Component] | None = None,
                 image_adapter: Component | None = None,
                 branch_weights: Mapping[str, float] | None = None,
                 zero_shot_head: Component | None = None,
                 class_features: str | Path | None = None,
                 data_preprocessor: Component | None = None,
                 encode_batch_size: int = 64,
                 return_embeddings: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(data_preprocessor or PointDataPreprocessor(), encode_batch_size, return_embeddings, init_cfg)
        if adapters is None and branch_weights is not None:
            raise ValueError('branch_weights weigh the embeddings of two adapters; give adapters, too')
        self.point_encoder = build_component(point_encoder)
        self.adapters = None if adapters is None else AdapterPair(adapters, branch_weights)
        self.image_adapter = None if image_adapter is None else build_component(image_adapter).requires_grad_(False)
        self.build_heads(alignment_head, zero_shot_head or ZeroShotHead(
            templates='imagenet', aggregation='sum', branches='pretrained'))
        self.init_text_encoder(text_encoder)
        head = self.zero_shot_head
        if (head.aggregation, head.branches) != ('sum', 'pretrained'):
            raise ValueError("shapes are scored by the cosines of their embeddings: set the zero-shot head's "
                             f"aggregation='sum' and branches='pretrained', got {head.aggregation!r} and "
                             f'{head.branches!r}')
        if head.view_selection is not None:
            raise ValueError('a shape has one embedding and no views: leave out view_selection of the zero-shot head')
        self.class_features_file = class_features
        self._stored: StoredClassFeatures | None = None

    # --- modes ---

    def loss(self, inputs: dict[str, Any], data_samples: Sequence[ShapeDataSample] | None = None) -> dict[str, Tensor]:
        """Compute the losses of a batch; see :meth:`TriModalContrastiveHead.loss`.

        Args:
            inputs: ``points`` and optionally ``colors``, see :meth:`predict`. Also ``image_features`` (B, P, D) or,
                with a text encoder, ``images`` (B, P, 3, H, W) in [0, 1]; and ``text_features`` (B, D) with
                ``has_text`` bool (B,) where some shapes have none. Without them the text encoder encodes the ``text``
                of the data samples.
            data_samples: B samples, for texts.
        """
        head = self.needed(self.alignment_head, 'alignment_head', "mode 'loss'")
        embeddings = self._embeddings(inputs['points'], inputs.get('colors'))
        with torch.no_grad():
            image = self._image_features(inputs)
            text, has_text = self._text_features(inputs, data_samples)
        return head.loss(dict(text=embeddings['text'], image=embeddings['image']), text, image, has_text)

    @torch.no_grad()
    def predict(self, inputs: dict[str, Any], data_samples: list[ShapeDataSample] | None = None
                ) -> list[ShapeDataSample]:
        """Classify a batch; see :meth:`forward`.

        Args:
            inputs: ``points`` float (B, N, 3), or a list of B tensors (N_i, 3), and optionally ``colors`` in [0, 1] of
                the same shapes.
            data_samples: B samples; new ones are made if absent.
        """
        features = self.encode_inputs(inputs)
        fields = dict()
        if self.return_embeddings:
            fields['depth_embedding'] = self.pool_views(features)
            if 'image_features' in inputs or 'images' in inputs:
                fields['image_embedding'] = object_features(self._image_features(inputs))
        return self.fill_samples(data_samples, self.scores_of_features(features), fields)

    # --- embeddings ---

    def encode_points(self, points: Clouds, colors: Clouds | None = None) -> Tensor | Embeddings:
        """Embed clouds.

        Args:
            points: Float (B, N, 3), or B tensors (N_i, 3), arranged as the encoder was trained: centered, in the unit
                ball, with its up axis.
            colors: Float in [0, 1] of the same shapes; None for the encoder's gray. Ignored by an encoder of
                coordinates alone.

        Returns:
            Float32 (B, D), not normalized; with adapters a dict of those towards ``'text'`` and ``'image'``.
        """
        embeddings = self._embeddings(points, colors)
        return embeddings['text'] if self.adapters is None else embeddings

    def _embeddings(self, points: Clouds, colors: Clouds | None) -> Embeddings:
        if torch.is_grad_enabled():
            features = self.point_encoder(points, colors)
        else:
            size = self.encode_batch_size
            features = torch.cat([
                self.point_encoder(points[start:start + size], None if colors is None else colors[start:start + size])
                for start in range(0, len(points), size)]) if len(points) else self.point_encoder(points, colors)
        return dict.fromkeys(('text', 'image'), features.float()) if self.adapters is None else self.adapters(features)

    def encode_inputs(self, inputs: Mapping[str, Any], branches: Sequence[str] | None = None) -> Embeddings:
        """Embed the shapes of a batch as one view each.

        Args:
            inputs: ``points`` and optionally ``colors``, see :meth:`forward`.
            branches: Not used; there is one.

        Returns:
            ``pretrained``, float32 (B, 1, D), L2-normalized. With adapters the two embeddings are concatenated in D,
            each normalized and weighted, so that the cosine with a class feature given twice is the zero-shot score up
            to a factor.
        """
        embeddings = self._embeddings(inputs['points'], inputs.get('colors'))
        with full_precision(embeddings['text']):
            if self.adapters is None:
                return dict(pretrained=F.normalize(embeddings['text'], dim=-1)[:, None])
            return dict(pretrained=self.adapters.joined(embeddings)[:, None])

    @property
    def branches(self) -> tuple[str, ...]:
        """Names in the result of :meth:`encode_inputs`."""
        return ('pretrained', )

    def pool_views(self, features: Embeddings) -> Tensor:
        """Return the retrieval embeddings of the features of :meth:`encode_inputs`, float32 (B, D), L2-normalized.

        With adapters it is the weighted sum of both embeddings, whose cosines with texts rank as the zero-shot scores.
        """
        values = features['pretrained'][:, 0]
        if self.adapters is not None:
            values = self.adapters.summed(values)
        return F.normalize(values, dim=-1)

    def view_features(self, features: Embeddings) -> Tensor:
        """Return the features that few-shot classification takes, float32 (B, 1, D)."""
        return features['pretrained']

    @torch.no_grad()
    def embed_shapes(self, points: Clouds, colors: Clouds | None = None) -> Tensor:
        """Embed clouds for retrieval, float32 (B, D), L2-normalized; arguments of :meth:`encode_points`."""
        return self.pool_views(self.encode_inputs(dict(points=points, colors=colors)))

    # --- classification ---

    # An embedding of a shape stands for a depth view.
    kinds_of_views: tuple[Literal['depth', 'color'], ...] = ('depth', )

    def class_features(self, of: Literal['depth', 'color'] | None = None) -> Tensor:
        """Return the features of the vocabulary: float32 (C, D), L2-normalized, on the device of the model."""
        device = next(self.point_encoder.parameters()).device
        if self.class_features_file is not None:
            if self._stored is None:  # read when it is needed first: training does not need it
                self._stored = StoredClassFeatures(self.class_features_file)
            if self.zero_shot_head.class_names is None:
                self.set_vocabulary(self._stored.class_names)
            return self._stored.of(self.zero_shot_head.class_names or ()).to(device)
        clip = self.clip_backbone
        return self.zero_shot_head.vocabulary_features(clip.encode_text, clip.text_encoder_key, device,
                                                       clip.check_prompts)

    @torch.no_grad()
    def zero_shot(self, points: Clouds, colors: Clouds | None = None) -> Tensor:
        """Classify clouds: float32 (B, C), higher is better; arguments of :meth:`encode_points`."""
        return self.scores_of_features(self.encode_inputs(dict(points=points, colors=colors)))

    def scores_of_features(self, features: Embeddings) -> Tensor:
        """Score the features of :meth:`encode_inputs`, float32 (B, C).

        The cosines with the classes; with adapters their sum weighted by ``branch_weights``.

        Raises:
            ValueError: The class features have another length than the embeddings.
        """
        classes, values = self.class_features(), features['pretrained'][:, 0]
        with full_precision(values):
            classes = classes.to(values.device)
            if self.adapters is not None:
                classes = self.adapters.class_features(classes)
            if classes.shape[-1] != values.shape[-1]:
                raise ValueError(f'class features have {classes.shape[-1]} entries, the embeddings of shapes '
                                 f'{values.shape[-1]}: both must be of one CLIP')
            return values @ classes.t()

    def class_logits_of(self, features: Tensor) -> Tensor:
        """Return logits (B, C) of ``pretrained`` (B, 1, D) of :meth:`encode_inputs`; see :meth:`scores_of_features`."""
        return self.scores_of_features(dict(pretrained=features))
