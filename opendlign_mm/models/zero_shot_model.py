"""What the models share: parts from configs, full precision, views in batches, modes, vocabulary and predictions."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..structures import ShapeDataSample

if TYPE_CHECKING:
    from .zero_shot_head import ZeroShotHead

Component = dict | nn.Module
ViewBranches = Literal['both', 'pretrained', 'tuned']
# Views that pass a CLIP at once on a CPU: the tokens of more do not stay in its caches, and take a fifth longer.
CPU_BATCH_SIZE = 64


def build_component(component: Component) -> Any:
    """Build a config by its registered name; return a module unchanged."""
    return component if isinstance(component, nn.Module) else MODELS.build(component)


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context manager that switches autocast off on the device of ``tensor``.

    A cosine rounded to bfloat16 has steps of 1/256; multiplied by a logit scale of 100, the rounding error swamps the
    loss.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def embed_views(backbone: nn.Module, views: Tensor, branches: Sequence[str], batch_size: int) -> dict[str, Tensor]:
    """Embed the views of objects by branches of a CLIP.

    Args:
        backbone: A ``CLIPDepthBackbone``.
        views: Float (B, V, H, W), gray, or (B, V, 3, H, W), in [0, 1].
        branches: Branches to compute, in one pass.
        batch_size: Number of views at a time where no gradient is needed, on a CPU at most ``CPU_BATCH_SIZE``; whole
            objects, where their views attend to each other.

    Returns:
        Branch -> (B, V, D), not normalized.
    """
    objects, num_views = views.shape[:2]
    views = views.flatten(0, 1)
    if views.device.type == 'cpu':
        batch_size = min(batch_size, CPU_BATCH_SIZE)
    if views.ndim == 3:  # a view of the gray values, not a copy
        views = views.unsqueeze(1).expand(-1, 3, -1, -1)
    # With a graph, the backbone itself divides the blocks that keep none.
    options = dict(num_views=num_views) if getattr(backbone, 'views_attend', False) else {}
    whole = max(batch_size // num_views, 1) * num_views if options and num_views else batch_size
    chunks = [views] if torch.is_grad_enabled() else views.split(whole)
    encoded = [backbone(chunk, branches, batch_size, **options) for chunk in chunks]
    return {name: torch.cat([chunk[name] for chunk in encoded]).unflatten(0, (objects, num_views))
            for name in branches}


def select_views(pretrained: Tensor | None, tuned: Tensor | None, branches: ViewBranches) -> Tensor:
    """Take each view from the branch that it is meant for.

    Args:
        pretrained: View features (B, V, D) of the pretrained branch, where it is used.
        tuned: View features (B, V, D) of the tuned branch, where it is used.
        branches: ``'both'``: the first half of the views (rounded down) from the pretrained branch, the others from
            the tuned one. ``'pretrained'`` or ``'tuned'``: all views from that branch.

    Returns:
        Float (B, V, D).

    Raises:
        ValueError: Features of a branch are missing or have another shape.
    """
    features = {}
    for name, given in (('pretrained', pretrained), ('tuned', tuned)):
        if branches in (name, 'both'):
            if given is None:
                raise ValueError(f'branches={branches!r} needs the features of the {name!r} branch')
            if given.ndim != 3:
                raise ValueError(f'{name} features must have shape (B, V, D), got {tuple(given.shape)}')
            features[name] = given
    if branches != 'both':
        return features[branches]
    first, second = features['pretrained'], features['tuned']
    if first.shape != second.shape:
        raise ValueError(f'both branches must have one shape, got {tuple(first.shape)} and {tuple(second.shape)}')
    half = first.shape[1] // 2
    return torch.cat([first[:, :half], second[:, half:]], dim=1)


class ZeroShotModel(BaseModel):
    """Base of the models of shapes: modes, heads, vocabulary and predictions.

    Args:
        data_preprocessor: A data preprocessor or its config.
        encode_batch_size: Number of views or shapes per pass where no gradient is needed.
        return_embeddings: Whether mode ``'predict'`` also returns embeddings.
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: ``encode_batch_size`` < 1.
    """

    # The input that every mode needs, and what makes it.
    required_input: str
    # Input that takes its place in mode 'loss'.
    stored_input: str | None = None
    remedy: str

    def __init__(self, data_preprocessor: Component, encode_batch_size: int, return_embeddings: bool,
                 init_cfg: dict | None) -> None:
        super().__init__(build_component(data_preprocessor), init_cfg)
        if encode_batch_size < 1:
            raise ValueError(f'encode_batch_size must be at least 1, got {encode_batch_size}')
        self.encode_batch_size, self.return_embeddings = encode_batch_size, return_embeddings
        self.alignment_head: Any = None
        self.zero_shot_head: Any = None
        self.register_load_state_dict_post_hook(_forget_vocabulary_features)

    def build_heads(self, alignment_head: Component | None, zero_shot_head: Component | None) -> None:
        """Build the heads that are given, after the encoders: optimizers store parameters in the order of modules."""
        if alignment_head is not None:
            self.alignment_head = build_component(alignment_head)
        if zero_shot_head is not None:
            self.zero_shot_head = build_component(zero_shot_head)

    # --- modes ---

    def forward(self, inputs: dict[str, Any], data_samples: list[ShapeDataSample] | None = None, mode: str = 'tensor'
                ) -> dict[str, Tensor] | list[ShapeDataSample]:
        """Run the model on a batch of the data preprocessor.

        Args:
            inputs: See :meth:`loss` and :meth:`predict`.
            data_samples: B samples; new ones are made if absent.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            ``'loss'``: dict of scalars. ``'predict'``: the data samples with ``pred_scores`` (C,), ``pred_label`` and
            the ``class_names`` that both index. ``'tensor'``: :meth:`encode_inputs`.

        Raises:
            ValueError: ``inputs`` lack an entry, or there is no such mode.
            RuntimeError: The model was built without the part that the mode needs.
        """
        if self.required_input not in inputs and not (mode == 'loss' and self.stored_input in inputs):
            raise ValueError(f"inputs have no '{self.required_input}', only {sorted(inputs)}: {self.remedy}")
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.encode_inputs(inputs)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    @abstractmethod
    def loss(self, inputs: dict[str, Any], data_samples: Sequence[ShapeDataSample] | None = None) -> dict[str, Tensor]:
        """Compute the losses of a batch."""

    @abstractmethod
    def predict(self, inputs: dict[str, Any], data_samples: list[ShapeDataSample] | None = None
                ) -> list[ShapeDataSample]:
        """Classify a batch."""

    @abstractmethod
    def encode_inputs(self, inputs: Mapping[str, Any], branches: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Embed the shapes of a batch: branch -> float32 (B, V, D)."""

    def fill_samples(self, data_samples: list[ShapeDataSample] | None, scores: Tensor, fields: dict[str, Tensor]
                     ) -> list[ShapeDataSample]:
        """Write the scores (B, C) of a batch, and ``fields`` of (B, ...), into its data samples."""
        data_samples = data_samples or [ShapeDataSample() for _ in scores]
        for index, sample in enumerate(data_samples):
            sample.set_pred_scores(scores[index], self.head_for('a vocabulary').class_names)
            for name, values in fields.items():
                sample.set_field(values[index], name, dtype=Tensor)
        return data_samples

    # --- vocabulary ---

    def head_for(self, purpose: str) -> ZeroShotHead:
        """Return the zero-shot head, which ``purpose`` needs."""
        return self.needed(self.zero_shot_head, 'zero_shot_head', purpose)

    def set_vocabulary(self, class_names: Sequence[str], templates: str | Path | Sequence[str] | None = None) -> None:
        """Set the classes of mode ``'predict'``; see :meth:`ZeroShotHead.set_vocabulary`."""
        self.head_for('a vocabulary').set_vocabulary(class_names, templates)

    def needed(self, part: Any, name: str, purpose: str) -> Any:
        """Return a part of the model.

        Raises:
            RuntimeError: The model was built without it.
        """
        if part is None:
            raise RuntimeError(f'this {type(self).__name__} model was built without {name}, which {purpose} needs; '
                               'give it in the config')
        return part


def _forget_vocabulary_features(model: ZeroShotModel, _) -> None:
    if model.zero_shot_head is not None:
        model.zero_shot_head.forget_vocabulary_features()
