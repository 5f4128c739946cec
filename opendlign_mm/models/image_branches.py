"""The two branches of a CLIP's image tower, from normalized pixels to embeddings (OpenDlign, section 3.2)."""
import threading
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .compiled_steps import Compiled, steps
from .cross_view import CrossViewAttention
from .precision import CastBlock, Precision, cast_weights, resolve_precision
from .trained_state import TrainedStateMixin, equals_its_source
from .zero_shot_model import full_precision

# Of several threads that use a model for the first time, one casts it.
_CASTING = threading.Lock()
BRANCHES = ('pretrained', 'tuned')
# Views that pass the frozen blocks at once by default: at most so many, and so many numbers between two blocks. More do
# not fill a GPU better, and their activations take several times these numbers.
MAX_VIEWS, MAX_NUMBERS = 256, 1 << 24


class ImageBranchesMixin(TrainedStateMixin):
    """Part of :class:`CLIPDepthBackbone` that computes both branches, in the precision of the backbone.

    In another precision than ``'fp32'`` the image tower and what T' has in common with it are cast at the first forward
    pass, after their hash was taken: neither the identity of the CLIP nor a checkpoint depends on the precision. The
    trained parameters stay float32 and are cast in each pass; autocast is switched off, as all dtypes are decided.
    """

    clip: Any  # an open_clip model
    tower: Any  # a TransformerTower, None where the image tower is not a plain ViT
    pixel_mean: torch.Tensor | None
    pixel_std: torch.Tensor | None
    clip_name: str
    resize: bool
    image_size: tuple[int, int]
    num_blocks: int
    stacked: bool
    combine: str
    cross_view: CrossViewAttention | None
    precision: Precision
    compiled: Compiled

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that this backbone has."""
        return BRANCHES if self.num_blocks else BRANCHES[:1]

    @property
    def tuning(self) -> str | None:
        """How the tuned branch uses its blocks: ``residual``, ``multi_view`` or ``direct``, and ``, stacked``."""
        if not self.num_blocks:
            return None
        combine = 'direct' if self.combine == 'shared' else self.combine  # 'shared' differs in training alone
        return combine + ', stacked' * (self.stacked and self.num_blocks > 1)

    @property
    def is_residual(self) -> bool:
        """Whether the tuned branch is the mean of its blocks and CLIP's own."""
        return self.combine in ('residual', 'multi_view')

    @property
    def views_attend(self) -> bool:
        """Whether the embedding of a view depends on the other views of its object."""
        return self.cross_view is not None

    @property
    def views_per_pass(self) -> int:
        """Number of views that pass the frozen blocks at once unless the user says otherwise, >= 1: 51 of ViT-H-14."""
        if self.tower is None:
            return MAX_VIEWS
        return max(1, min(MAX_VIEWS, MAX_NUMBERS // self.tower.numbers_per_image))

    def source_blocks(self) -> list[nn.Module]:
        """Return the frozen block that each of ``tuned_blocks`` was copied from: T_{L-k+1..L}, or T_L if stacked."""
        if not (self.tower and self.num_blocks):
            return []
        return self.tower.blocks[-1:] * self.num_blocks if self.stacked else self.tower.blocks[-self.num_blocks:]

    def prepare_precision(self) -> torch.dtype | None:
        """Cast the frozen weights where the precision asks for it and they are not cast yet.

        Returns:
            The dtype to compute in; None where it is float32, which leaves the dtypes and autocast to the user.

        Raises:
            ValueError: The device does not have the precision, or a tuned branch is trained in float16.
        """
        if self.precision == 'fp32':
            return None
        weights = next(self.clip.visual.parameters())
        dtype = resolve_precision(self.precision, weights.device)
        with _CASTING:
            if weights.dtype != dtype or self._cast_is_due:
                self._cast_frozen(dtype)
        if dtype == torch.float16 and self.training and self.num_blocks and torch.is_grad_enabled():
            raise ValueError("precision='fp16' is for inference, as small gradients vanish in float16: train with "
                             "'bf16', 'fp32' or 'auto'")
        return None if dtype == torch.float32 else dtype

    @torch.inference_mode(False)  # tensors made in inference mode could not be trained on
    @torch.no_grad()
    def _cast_frozen(self, dtype: torch.dtype) -> None:
        self.clip_identity()
        shared = [pair for pair in self._frozen_copies().values() if equals_its_source(*pair)]
        cast_weights(self.clip.visual, dtype)
        for copied, original in shared:
            copied.data = original.detach().clone()
        self._is_cast, self._cast_is_due = dtype != torch.float32, False

    def _embeddings(self, views: torch.Tensor, branches: Sequence[str], trunk_batch_size: int | None,
                    num_views: int = 1) -> dict[str, torch.Tensor]:
        """Embeddings (N, D) of each branch, float32 unless the precision is left to the user."""
        dtype = self.prepare_precision()
        if dtype is None:
            return self._computed(views, branches, trunk_batch_size, None, num_views)
        with full_precision(views):
            computed = self._computed(views, branches, trunk_batch_size, dtype, num_views)
        return {branch: embeddings.float() for branch, embeddings in computed.items()}

    def _computed(self, views: torch.Tensor, branches: Sequence[str], trunk_batch_size: int | None,
                  dtype: torch.dtype | None, num_views: int) -> dict[str, torch.Tensor]:
        if self.tower is None:
            with torch.no_grad():
                embeddings = self.clip.visual(self._normalized(views, dtype))
            return {'pretrained': embeddings[0] if isinstance(embeddings, tuple) else embeddings}
        tokens = self._tokens(views, branches, trunk_batch_size, dtype, True, num_views)
        return {branch: self._pool(tokens[branch], branch) for branch in branches}

    def _checked(self, views: torch.Tensor) -> torch.Tensor:
        if views.ndim != 4 or views.shape[1] != 3:
            raise ValueError(f'views must have shape (N, 3, H, W), got {tuple(views.shape)}')
        if not views.is_floating_point():
            raise TypeError(f'views must be floating point in [0, 1], got {views.dtype}; divide uint8 images by 255')
        if tuple(views.shape[-2:]) != self.image_size and not self.resize:
            raise ValueError(f"CLIP '{self.clip_name}' takes images of {self.image_size} pixels, got "
                             f'{tuple(views.shape[-2:])}; make views of that resolution or set resize=True')
        return views

    @torch.no_grad()
    def trunk_tokens(self, views: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute all of the tuned branch that is frozen: what :meth:`encode_tokens` takes.

        Args:
            views: As in :meth:`forward`.

        Returns:
            ``depth_tokens`` (N, ...), the tokens before the trained blocks, and, where the tuned branch is residual,
            ``depth_pretrained`` (N, ...), what is pooled of those of T after its last block; in the dtype of the
            weights.

        Raises:
            ValueError: There is no tuned branch, or the views have a wrong shape.
        """
        if not self.num_blocks:
            raise ValueError('num_blocks=0: without a tuned branch no tokens are taken')
        dtype = self.prepare_precision()
        with full_precision(views):
            views = self._checked(views)
            trunk, pretrained = self._all_frozen_tokens(views, ('tuned', ), None, dtype, pooled=True)
        tokens = dict(depth_tokens=trunk.movedim(self.tower.batch_dim, 0))
        if self.is_residual:
            tokens['depth_pretrained'] = pretrained.movedim(self.tower.batch_dim, 0)
        return tokens

    def encode_tokens(self, depth_tokens: torch.Tensor, depth_pretrained: torch.Tensor | None = None,
                      num_views: int = 1) -> torch.Tensor:
        """Finish the tuned branch from the result of :meth:`trunk_tokens`, whose dtype may be another.

        Args:
            depth_tokens: Tokens (N, ...) before the trained blocks.
            depth_pretrained: Tokens (N, ...) of T after its last block, where they are added.
            num_views: Number of views of an object, which follow each other, for ``combine='multi_view'``.

        Returns:
            Embeddings (N, D), not normalized.

        Raises:
            ValueError: The tokens after T are absent and needed.
        """
        if depth_pretrained is None and self.is_residual:
            raise ValueError(f"combine='{self.combine}' needs depth_pretrained, the tokens of T, beside depth_tokens")
        dtype = self.prepare_precision()
        weights = dtype or next(self.clip.visual.parameters()).dtype
        trunk = depth_tokens.to(weights).movedim(0, self.tower.batch_dim)
        pretrained = None if depth_pretrained is None else depth_pretrained.to(weights).movedim(0, self.tower.batch_dim)
        if dtype is None:
            return self._pool(self._tuned_tokens(trunk, pretrained, None, True, num_views), 'tuned')
        with full_precision(depth_tokens):
            return self._pool(self._tuned_tokens(trunk, pretrained, dtype, True, num_views), 'tuned').float()

    def _feature_map(self, views: torch.Tensor, branch: str, trunk_batch_size: int | None) -> torch.Tensor:
        """Feature map (N, width, h, w) of a branch."""
        dtype = self.prepare_precision()
        if dtype is None:
            return self.tower.feature_map(self._tokens(views, (branch, ), trunk_batch_size)[branch])
        with full_precision(views):
            return self.tower.feature_map(self._tokens(views, (branch, ), trunk_batch_size, dtype)[branch]).float()

    def _tokens(self, views: torch.Tensor, branches: Sequence[str], trunk_batch_size: int | None = None,
                dtype: torch.dtype | None = None, pooled: bool = False, num_views: int = 1
                ) -> dict[str, torch.Tensor]:
        """Tokens of each branch after its last block; only those that the tower pools if ``pooled``."""
        trunk, pretrained = self._all_frozen_tokens(views, branches, trunk_batch_size, dtype, pooled)
        tokens = {'pretrained': pretrained}
        if 'tuned' in branches:
            tokens['tuned'] = self._tuned_tokens(trunk, pretrained, dtype, pooled, num_views)
        return tokens

    @torch.no_grad()  # nothing before T' is trained: no graph of it is kept, and its views may come in chunks
    def _all_frozen_tokens(self, views: torch.Tensor, branches: Sequence[str], trunk_batch_size: int | None,
                           dtype: torch.dtype | None, pooled: bool) -> tuple[torch.Tensor, torch.Tensor]:
        chunks = [self._frozen_tokens(self._normalized(chunk, dtype), branches, pooled)
                  for chunk in views.split(trunk_batch_size or len(views))]
        trunk, pretrained = (torch.cat(parts, self.tower.batch_dim) if len(parts) > 1 else parts[0]
                             for parts in zip(*chunks, strict=True))
        return trunk, pretrained

    def _frozen_tokens(self, images: torch.Tensor, branches: Sequence[str], pooled: bool
                       ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens before the copied blocks, and those after them, or the former again where these are not needed."""
        blocks = self.tower.blocks
        split = len(blocks) - (min(self.num_blocks, 1) if self.stacked else self.num_blocks)
        needed = 'pretrained' in branches or self.is_residual
        compute = steps(self.compiled)
        trunk = pretrained = compute.embed(self.tower, images)
        for index, block in enumerate(blocks if needed else blocks[:split], 1):
            run = compute.last if index == len(blocks) else compute.run
            pretrained = run(self.tower, self._step(block, pooled and index == len(blocks)), pretrained)
            trunk = pretrained if index <= split else trunk
        return trunk, pretrained

    def _tuned_tokens(self, trunk: torch.Tensor, pretrained: torch.Tensor | None, dtype: torch.dtype | None,
                      pooled: bool, num_views: int = 1) -> torch.Tensor:
        """Tokens of the tuned branch from those before its blocks and those of the pretrained branch."""
        tuned = trunk
        if self.cross_view is not None:
            attention = self.cross_view if dtype is None else CastBlock(self.cross_view, dtype)
            tuned = attention(tuned, num_views, self.tower.batch_dim)
        for index, block in enumerate(self.tuned_blocks, 1):
            step = self._step(block, pooled and index == len(self.tuned_blocks))
            tuned = self.tower.run(step if dtype is None else CastBlock(step, dtype), tuned)
        if not self.is_residual:
            return tuned
        assert pretrained is not None
        return 0.5 * pretrained + 0.5 * tuned

    def _step(self, block: nn.Module, is_pooled: bool) -> nn.Module:
        return self.tower.last(block) if is_pooled else self.tower.packed(block)

    def _pool(self, tokens: torch.Tensor, branch: str) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and branch == 'tuned'):
            return self.tower.pool(tokens)

    def _normalized(self, views: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Images of the size and the statistics of the CLIP, in the dtype to compute in."""
        views = views.to(next(self.clip.visual.parameters()).dtype) if dtype is None else views.float()
        if tuple(views.shape[-2:]) != self.image_size:
            views = F.interpolate(views, self.image_size, mode='bilinear', align_corners=False, antialias=True)
        if self.pixel_mean is not None and self.pixel_std is not None:
            views = (views - self.pixel_mean) / self.pixel_std
        return views if dtype is None else views.to(dtype)
