"""Alignment head of point encoders: contrastive losses of shapes with texts and with images (ULIP, OpenShape, TAMM)."""
import math
from collections.abc import Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .contrastive_head import gather_with_gradient
from .zero_shot_model import full_precision

Losses = dict[str, Tensor]


@MODELS.register_module()
class TriModalContrastiveHead(BaseModule):
    """Symmetric InfoNCE of shapes with their texts, plus that of shapes with their images, over the global batch.

    ====================  ===========================  ======================  =======================
    option                ULIP                         OpenShape               TAMM
    ====================  ===========================  ======================  =======================
    ``init_logit_scale``  1/0.07                       14.28                   14.28
    ``max_logit_scale``   100                          None                    None
    ``gather_gradient``   False                        True                    True
    pictures of a shape   one                          one                     four, their losses summed
    ====================  ===========================  ======================  =======================

    Args:
        init_logit_scale: Start of the learnable factor of the cosines.
        max_logit_scale: Largest factor; None for any.
        text_weight: Weight of the loss with texts.
        image_weight: Weight of the loss with images; with several images per shape, of each of their losses.
        gather_gradient: Whether gradients flow to the features of other processes. If so, the gradients of several
            processes are those of one with the joint batch. If not, as in ULIP, each process compares its own rows with
            constant features of the others: the mean of the losses is that of the joint batch, its gradient is not.
        negatives_per_group: OpenShape's hard negatives: the rows of a batch come in groups of this many similar shapes.
            The cosines of two shapes of one group are set to 0 unless the image of the first fits its own text better
            than the other one's by ``mask_margin``. None for no groups. Needs a text of every shape.
        mask_margin: Difference of cosines above which a similar shape is a negative.
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: A factor is not positive, or a group has fewer than two shapes.
    """

    def __init__(self, init_logit_scale: float = 14.28, max_logit_scale: float | None = None, text_weight: float = 1.,
                 image_weight: float = 1., gather_gradient: bool = True, negatives_per_group: int | None = None,
                 mask_margin: float = .1, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if init_logit_scale <= 0 or (max_logit_scale is not None and max_logit_scale <= 0):
            raise ValueError(f'init_logit_scale and max_logit_scale must be positive factors (not logarithms), got '
                             f'{init_logit_scale} and {max_logit_scale}')
        if negatives_per_group is not None and negatives_per_group < 2:
            raise ValueError(f'negatives_per_group must be at least 2 or None, got {negatives_per_group}')
        self.logit_scale = nn.Parameter(torch.tensor(math.log(init_logit_scale)))
        self.max_log_scale = None if max_logit_scale is None else math.log(max_logit_scale)
        self.text_weight, self.image_weight = text_weight, image_weight
        self.gather_gradient = gather_gradient
        self.negatives_per_group, self.mask_margin = negatives_per_group, mask_margin

    def current_logit_scale(self) -> Tensor:
        """Return the factor (not its logarithm) of the cosines, a float32 scalar."""
        if self.max_log_scale is not None:
            with torch.no_grad():  # a clamp in the graph would have no gradient to lower it again
                self.logit_scale.clamp_(max=self.max_log_scale)
        return self.logit_scale.float().exp()

    def loss(self, shape: Mapping[str, Tensor], text: Tensor | None, image: Tensor, has_text: Tensor | None = None
             ) -> Losses:
        """Compute the losses of a batch; with torch.distributed, of the batches of all processes.

        Args:
            shape: ``text`` and ``image``, float (B, D): the embeddings of the shapes that are compared with texts and
                with images; B equal on all processes.
            text: Float (B, D), one text of each shape; None if the batch has no texts.
            image: Float (B, P, D), P images of each shape; P equal on all processes.
            has_text: Bool (B,), shapes that have a text; the rows of the others in ``text`` are ignored. None: all.

        Returns:
            Dict of float32 scalars: ``loss_text``, ``loss_image`` (the sum over the P images), and for logging
            ``text_accuracy``, ``image_accuracy``, the shares of shapes whose own text or image has the highest cosine,
            in [0, 1], and ``logit_scale``.

        Raises:
            ValueError: Shapes of tensors differ, or groups of hard negatives do not divide the batch or lack a text.
        """
        batch, dim = shape['image'].shape
        if image.ndim != 3 or image.shape[0] != batch or image.shape[2] != dim:
            raise ValueError(f'image features must have shape ({batch}, P, {dim}) as the shapes, got '
                             f'{tuple(image.shape)}; take features of the CLIP that the shapes are aligned with')
        if text is None:
            text, has_text = torch.zeros_like(shape['text']), torch.zeros(batch, dtype=torch.bool)
        if text.shape != shape['text'].shape:
            raise ValueError(f'text features must have shape {tuple(shape["text"].shape)} as the shapes, got '
                             f'{tuple(text.shape)}; take features of the CLIP that the shapes are aligned with')
        has_text = torch.ones(batch, dtype=torch.bool) if has_text is None else has_text.bool()
        has_text = has_text.to(text.device)
        with full_precision(text):
            scale = self.current_logit_scale()
            # Rows without a text may hold anything; NaN must not reach the others through a product with 0.
            text = text.float().masked_fill(~has_text[:, None], 0)
            mask = self._mask(image, text, has_text)
            of_text = self._pair(shape['text'], text, scale, mask, _gather(has_text))
            of_images = [self._pair(shape['image'], image[:, index], scale, mask) for index in range(image.shape[1])]
        losses, accuracies = zip(*of_images, strict=True)
        return dict(loss_text=self.text_weight * of_text[0], loss_image=self.image_weight * torch.stack(losses).sum(),
                    text_accuracy=of_text[1], image_accuracy=torch.stack(accuracies).mean(),
                    logit_scale=scale.detach())

    def _pair(self, shape: Tensor, other: Tensor, scale: Tensor, mask: Tensor | None, kept: Tensor | None = None
              ) -> tuple[Tensor, Tensor]:
        """Return the loss of shapes with one partner each, and the share of shapes whose partner is the nearest.

        Args:
            shape: (B, D).
            other: (B, D).
            scale: Factor of the cosines.
            mask: (N, N) with N rows of all processes, multiplied with the logits.
            kept: Bool (N,), rows to compare.
        """
        shape, other = F.normalize(shape.float(), dim=-1), F.normalize(other.float(), dim=-1)
        rows = torch.arange(len(shape), device=shape.device)
        if self.gather_gradient or not _is_distributed():
            every = own = gather_with_gradient(shape), gather_with_gradient(other)
            rows = torch.arange(len(own[0]), device=shape.device)
        else:
            every, own = (_gather(shape), _gather(other)), (shape, other)
            rows = rows + dist.get_rank() * len(shape)
        kept = torch.ones(len(every[0]), dtype=torch.bool, device=shape.device) if kept is None else kept
        chosen = kept[rows]
        if not chosen.any():
            # Every parameter still gets a gradient: DistributedDataParallel waits for it.
            return (own[0].sum() + own[1].sum()) * 0 * scale, shape.new_zeros(())
        columns, number = kept.nonzero()[:, 0], torch.cumsum(kept, 0) - 1
        target = number[rows[chosen]]
        logits = [scale * own[side][chosen] @ every[1 - side][columns].t() for side in (0, 1)]
        if mask is not None:
            square = mask[rows[chosen]][:, columns]
            logits = [logits[0] * square, logits[1] * mask[columns][:, rows[chosen]].t()]
        loss = torch.stack([F.cross_entropy(values, target, reduction='sum') for values in logits]).mean()
        # Processes without gathered gradients have different numbers of texts; DDP takes the mean of the losses.
        share = len(columns) / dist.get_world_size() if len(rows) < len(kept) else len(columns)
        return loss / share, (logits[0].detach().argmax(dim=1) == target).float().mean()

    def _mask(self, image: Tensor, text: Tensor, has_text: Tensor) -> Tensor | None:
        """Return the factors of the logits of all processes, float32 (N, N); None without groups."""
        size = self.negatives_per_group
        if size is None:
            return None
        if len(text) % size or image.shape[1] != 1 or not has_text.all():
            raise ValueError(f'negatives_per_group={size} needs a batch of whole groups with a text and one image of '
                             f'every shape; the batch has {len(text)} shapes, {int(has_text.sum())} of them with a '
                             f'text, and {image.shape[1]} images of each')
        with torch.no_grad():
            image, text = _gather(F.normalize(image[:, 0].float(), dim=-1)), _gather(F.normalize(text, dim=-1))
            cosines = image @ text.t()
            group = torch.arange(len(text), device=text.device) // size
            similar = group[:, None] == group
            differs = cosines.diagonal()[:, None] - cosines > self.mask_margin
            own = torch.eye(len(text), dtype=torch.bool, device=text.device)
        return (own | ~similar | differs).float()


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _gather(values: Tensor) -> Tensor:
    """Concatenate the values of all processes in the order of the ranks, without gradient."""
    if not _is_distributed():
        return values
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)
