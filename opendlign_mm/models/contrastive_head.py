"""Alignment head: losses between features of depth views, images and captions (OpenDlign, section 3.2, table 5)."""
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

from .zero_shot_model import full_precision

Pair = Literal['depth-image', 'depth-text', 'image-text']
PAIRS: tuple[str, ...] = get_args(Pair)
MODALITIES = ('depth', 'image', 'text')
MAX_LOG_LOGIT_SCALE = math.log(100.)
CLIP_INIT_LOG_LOGIT_SCALE = math.log(1 / 0.07)


def object_features(view_features: torch.Tensor) -> torch.Tensor:
    """Pool view features to object features: normalize each view, take the mean over views, normalize.

    Args:
        view_features: Float (B, V, D).

    Returns:
        Float32 (B, D), L2-normalized.
    """
    return F.normalize(F.normalize(view_features.float(), dim=-1).mean(dim=1), dim=-1)


def gather_with_gradient(features: torch.Tensor) -> torch.Tensor:
    """Concatenate the features of all processes, differentiably.

    The gradient that arrives at each process is the sum over all processes. When each computes the same loss of the
    whole batch and DistributedDataParallel then averages the parameters' gradients, sum and mean cancel: the result
    is the gradient of one process with the joint batch.

    Args:
        features: Float (B, D); B must be equal on all processes.

    Returns:
        Float (number of processes x B, D), in the order of the ranks.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return features
    from torch.distributed.nn.functional import all_gather
    return torch.cat(all_gather(features))


@MODELS.register_module()
class DepthImageContrastiveHead(BaseModule):
    """Symmetric InfoNCE between depth and image features of the global batch, plus their distance; and with texts.

    ===================================  =================================
    strategy of OpenDlign's table 5      ``pairs``
    ===================================  =================================
    depth-dlign (the paper's)            depth-image
    depth-rendCAD                        depth-image, with rendered images
    depth-text & dlign                   depth-image, depth-text
    dlign-text & depth, first stage      image-text
    dlign-text & depth, second stage     depth-image
    ===================================  =================================

    Shapes with the same caption are not negatives of each other in a pair with texts: a caption says of both of them
    what it says of one, so their logits are left out. They are no further positives either; a shape's own caption is
    its only one. Without different captions in a batch there is nothing to contrast, and the loss of the pair is 0.

    Args:
        logit_scale: ``'frozen'`` (the authors' code) or ``'learnable'`` (the paper's learnable temperature).
        init_logit_scale: Logarithm of the logit scale. None: CLIP's own, passed to :meth:`loss` or
            :meth:`init_logit_scale_from`.
        distance: Distance of depth and image features, added with the pair depth-image: ``'mse'`` (the authors' code:
            mean squared difference of all entries), ``'l2'`` (the paper: mean Euclidean distance of the pairs) or None.
        distance_weight: Weight of the distance.
        pairs: The modalities that are contrasted: one or more of ``'depth-image'``, ``'depth-text'`` and
            ``'image-text'``.
        text_weight: Weight of the loss of each pair with texts.
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: An option does not exist, or a pair is named twice.
    """

    def __init__(self, logit_scale: Literal['frozen', 'learnable'] = 'frozen', init_logit_scale: float | None = None,
                 distance: Literal['mse', 'l2'] | None = 'mse', distance_weight: float = 1.0,
                 pairs: Sequence[Pair] = ('depth-image', ), text_weight: float = 1.0,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if logit_scale not in ('frozen', 'learnable'):
            raise ValueError(f"logit_scale must be 'frozen' or 'learnable', got {logit_scale!r}")
        if distance not in ('mse', 'l2', None):
            raise ValueError(f"distance must be 'mse', 'l2' or None, got {distance!r}")
        self.pairs = (pairs, ) if isinstance(pairs, str) else tuple(pairs)
        if not self.pairs or set(self.pairs) - set(PAIRS) or len(set(self.pairs)) < len(self.pairs):
            raise ValueError(f'pairs must be one or more of {", ".join(PAIRS)}, each once, got {pairs!r}')
        self.learnable = logit_scale == 'learnable'
        self.init_logit_scale, self.distance, self.distance_weight = init_logit_scale, distance, distance_weight
        self.text_weight = text_weight
        if self.learnable:
            start = CLIP_INIT_LOG_LOGIT_SCALE if init_logit_scale is None else init_logit_scale
            self.logit_scale = nn.Parameter(torch.tensor(min(start, MAX_LOG_LOGIT_SCALE)))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the pairs need, in the order ``depth``, ``image``, ``text``."""
        return tuple(name for name in MODALITIES if any(name in pair.split('-') for pair in self.pairs))

    @torch.no_grad()
    def init_logit_scale_from(self, log_logit_scale: torch.Tensor) -> None:
        """Start a learnable scale at CLIP's, given as a scalar logarithm, unless ``init_logit_scale`` was given."""
        if self.learnable and self.init_logit_scale is None and not log_logit_scale.is_meta:
            self.logit_scale.copy_(log_logit_scale.detach().reshape(()).clamp(max=MAX_LOG_LOGIT_SCALE))

    def current_logit_scale(self, clip_logit_scale: torch.Tensor | float | None = None) -> torch.Tensor:
        """Return the factor (not its logarithm) of the cosines, a float32 scalar.

        Args:
            clip_logit_scale: CLIP's factor exp(s); used when the head's scale is frozen and ``init_logit_scale`` is
                None.

        Raises:
            ValueError: The factor is CLIP's and was not passed.
        """
        if self.learnable:
            with torch.no_grad():  # as in CLIP; a clamp in the graph would have no gradient to lower it again
                self.logit_scale.clamp_(max=MAX_LOG_LOGIT_SCALE)
            return self.logit_scale.float().exp()
        if self.init_logit_scale is not None:
            return torch.tensor(math.exp(self.init_logit_scale))
        if clip_logit_scale is None:
            raise ValueError("a frozen logit scale is CLIP's: pass logit_scale to loss(), or set init_logit_scale")
        return torch.as_tensor(clip_logit_scale).detach().float().reshape(())

    def loss(self, depth_features: torch.Tensor | None, image_features: torch.Tensor | None,
             logit_scale: torch.Tensor | float | None = None, text_features: torch.Tensor | None = None,
             caption_ids: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch; with torch.distributed, of the batches of all processes together.

        Args:
            depth_features: Object features (B, D), L2-normalized; B equal on all processes.
            image_features: Object features (B, D) of the depth-aligned images, L2-normalized; the rows of all features
                belong together. Features of modalities that no pair needs may be None.
            logit_scale: See :meth:`current_logit_scale`.
            text_features: Features (B, D) of the captions, L2-normalized.
            caption_ids: Int64 (B,), one number for each caption, equal for equal captions in all processes.

        Returns:
            Dict of float32 scalars: ``loss_contrastive`` (depth-image), ``loss_distance`` (unless ``distance`` is
            None), ``loss_depth_text``, ``loss_image_text``, and the retrieval accuracies of each pair in [0, 1]:
            ``depth_to_image_accuracy``, ``image_to_depth_accuracy`` and so on. With texts, other shapes with the
            same caption do not count.

        Raises:
            ValueError: The features differ in shape or are not there, or the logit scale is missing.
        """
        features = self._checked(dict(depth=depth_features, image=image_features, text=text_features), caption_ids)
        losses, accuracies = {}, {}
        with full_precision(next(iter(features.values()))):
            # One order in all processes, which wait for each other.
            gathered = {name: gather_with_gradient(value.float()) for name, value in features.items()}
            same = None if caption_ids is None or 'text' not in features else _same_caption(caption_ids)
            for pair in self.pairs:
                first, second = pair.split('-')
                scale = self.current_logit_scale(logit_scale).to(gathered[first].device)
                logits = scale * gathered[first] @ gathered[second].t()
                if second == 'text' and same is not None:
                    logits = logits.masked_fill(same, -torch.inf)
                target = torch.arange(len(logits), device=logits.device)
                loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
                if pair == 'depth-image':
                    losses['loss_contrastive'] = loss
                    if self.distance is not None:
                        losses['loss_distance'] = self.distance_weight * self._distance(gathered[first],
                                                                                        gathered[second])
                else:
                    losses[f'loss_{first}_{second}'] = self.text_weight * loss
                there, back = retrieval_accuracies(logits.detach())
                accuracies.update({f'{first}_to_{second}_accuracy': there, f'{second}_to_{first}_accuracy': back})
        return dict(losses, **accuracies)

    def _checked(self, features: dict[str, torch.Tensor | None], caption_ids: torch.Tensor | None
                 ) -> dict[str, torch.Tensor]:
        """Return the features that the pairs need; raise ValueError if some are missing or differ in shape."""
        known = {name: value for name in self.modalities if (value := features[name]) is not None}
        absent = [name for name in self.modalities if name not in known]
        if absent:
            raise ValueError(f'pairs={self.pairs} need {absent[0]}_features, which were not passed to loss()')
        shapes = {f'{name}_features': tuple(value.shape) for name, value in known.items()}
        if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 2:
            raise ValueError(f'{" and ".join(shapes)} must have one shape (B, D), got '
                             f'{" and ".join(map(str, shapes.values()))}')
        if 'text' in known and (caption_ids is None or caption_ids.shape != known['text'].shape[:1]):
            raise ValueError(f'text_features need caption_ids of shape ({len(known["text"])},), got '
                             f'{None if caption_ids is None else tuple(caption_ids.shape)}')
        return known

    def _distance(self, depth: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        if self.distance == 'mse':
            return F.mse_loss(depth, image)
        return torch.linalg.vector_norm(depth - image, dim=-1).mean()


def _same_caption(caption_ids: torch.Tensor) -> torch.Tensor:
    """Return which shapes of all processes share a caption: bool (N, N), false on the diagonal."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        parts = [torch.empty_like(caption_ids) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, caption_ids.contiguous())
        caption_ids = torch.cat(parts)
    same = caption_ids[:, None] == caption_ids
    return same.fill_diagonal_(False)


def retrieval_accuracies(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the share of rows, and that of columns, of (B, B) whose highest entry is on the diagonal."""
    target = torch.arange(len(logits), device=logits.device)
    return (logits.argmax(1) == target).float().mean(), (logits.argmax(0) == target).float().mean()
