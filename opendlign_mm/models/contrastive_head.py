"""Alignment head: losses between depth features and image features (OpenDlign, section 3.2)."""
import math
from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

from .zero_shot_model import full_precision

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
    """Symmetric InfoNCE between depth and image features of the global batch, plus their distance.

    Args:
        logit_scale: ``'frozen'`` (the authors' code) or ``'learnable'`` (the paper's learnable temperature).
        init_logit_scale: Logarithm of the logit scale. None: CLIP's own, passed to :meth:`loss` or
            :meth:`init_logit_scale_from`.
        distance: ``'mse'`` (the authors' code: mean squared difference of all entries), ``'l2'`` (the paper: mean
            Euclidean distance of the pairs) or None.
        distance_weight: Weight of the distance.
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: An option does not exist.
    """

    def __init__(self, logit_scale: Literal['frozen', 'learnable'] = 'frozen', init_logit_scale: float | None = None,
                 distance: Literal['mse', 'l2'] | None = 'mse', distance_weight: float = 1.0,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if logit_scale not in ('frozen', 'learnable'):
            raise ValueError(f"logit_scale must be 'frozen' or 'learnable', got {logit_scale!r}")
        if distance not in ('mse', 'l2', None):
            raise ValueError(f"distance must be 'mse', 'l2' or None, got {distance!r}")
        self.learnable = logit_scale == 'learnable'
        self.init_logit_scale, self.distance, self.distance_weight = init_logit_scale, distance, distance_weight
        if self.learnable:
            start = CLIP_INIT_LOG_LOGIT_SCALE if init_logit_scale is None else init_logit_scale
            self.logit_scale = nn.Parameter(torch.tensor(min(start, MAX_LOG_LOGIT_SCALE)))

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

    def loss(self, depth_features: torch.Tensor, image_features: torch.Tensor,
             logit_scale: torch.Tensor | float | None = None) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch; with torch.distributed, of the batches of all processes together.

        Args:
            depth_features: Object features (B, D), L2-normalized; B equal on all processes.
            image_features: Object features (B, D) of the depth-aligned images, L2-normalized; the rows of both belong
                together.
            logit_scale: See :meth:`current_logit_scale`.

        Returns:
            Dict of float32 scalars: ``loss_contrastive``, ``loss_distance`` (unless ``distance`` is None), and the
            retrieval accuracies ``depth_to_image_accuracy``, ``image_to_depth_accuracy`` in [0, 1].

        Raises:
            ValueError: The features differ in shape, or the logit scale is missing.
        """
        if depth_features.ndim != 2 or depth_features.shape != image_features.shape:
            raise ValueError('depth_features and image_features must have one shape (B, D), got '
                             f'{tuple(depth_features.shape)} and {tuple(image_features.shape)}')
        with full_precision(depth_features):
            depth, image = depth_features.float(), image_features.float()
            depth, image = gather_with_gradient(depth), gather_with_gradient(image)
            logits = self.current_logit_scale(logit_scale).to(depth.device) * depth @ image.t()
            target = torch.arange(len(logits), device=logits.device)
            losses = dict(loss_contrastive=(F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2)
            if self.distance is not None:
                losses['loss_distance'] = self.distance_weight * self._distance(depth, image)
            depth_to_image, image_to_depth = retrieval_accuracies(logits.detach())
        return dict(losses, depth_to_image_accuracy=depth_to_image, image_to_depth_accuracy=image_to_depth)

    def _distance(self, depth: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        if self.distance == 'mse':
            return F.mse_loss(depth, image)
        return torch.linalg.vector_norm(depth - image, dim=-1).mean()


def retrieval_accuracies(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the share of rows, and that of columns, of (B, B) whose highest entry is on the diagonal."""
    target = torch.arange(len(logits), device=logits.device)
    return (logits.argmax(1) == target).float().mean(), (logits.argmax(0) == target).float().mean()
