"""CLIP backbone whose tuned branch is a copy of the whole image tower (CLIP2Point)."""
import copy
from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS

from .clip_backbone import CLIPDepthBackbone
from .image_branches import BRANCHES


@MODELS.register_module()
class CLIPTwinBackbone(CLIPDepthBackbone):
    """open_clip model with a second image tower, which starts as a copy of the first and is trained as a whole.

    The ``'pretrained'`` branch is CLIP itself and stays frozen. Unlike :class:`CLIPDepthBackbone` the image tower need
    not be a vision transformer.

    Args:
        clip: As in :class:`CLIPDepthBackbone`.
        frozen: Whether the second tower is frozen, too, as in the few-shot classification of CLIP2Point.
        kwargs: ``pretrained``, ``model_config``, ``pixel_mean``, ``pixel_std``, ``resize``, ``random_seed`` and
            ``init_cfg`` of :class:`CLIPDepthBackbone`.
    """

    def __init__(self, clip: str, frozen: bool = False, **kwargs) -> None:
        for name in ('num_blocks', 'copy_init', 'combine', 'trainable', 'output', 'precision', 'compiled'):
            if name in kwargs:
                raise ValueError(f"CLIPTwinBackbone trains a whole copy of the image tower and has no '{name}'")
        super().__init__(clip, num_blocks=0, **kwargs)
        self.tuned_visual = copy.deepcopy(self.clip.visual).requires_grad_(True)
        self.frozen = False
        if frozen:
            self.freeze()

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that this backbone has."""
        return BRANCHES

    def freeze(self) -> None:
        """Freeze the second tower, too."""
        self.frozen = True
        self.tuned_visual.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> 'CLIPTwinBackbone':
        """Set the mode of the second tower unless it is frozen; CLIP stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.tuned_visual.eval()
        return self

    def forward(self, views: torch.Tensor, branches: Sequence[str] | None = None, trunk_batch_size: int | None = None,
                num_views: int = 1) -> dict[str, torch.Tensor]:
        """Encode images; arguments and result as in :class:`CLIPDepthBackbone`.

        ``trunk_batch_size`` bounds the memory of the frozen branch only; ``num_views`` has no effect.
        """
        views = self._checked(views)
        branches = self.branches if branches is None else tuple(branches)
        unknown = [branch for branch in branches if branch not in BRANCHES]
        if unknown or not branches:
            raise ValueError(f"no branch {', '.join(map(repr, unknown)) or 'given'}: this backbone has {BRANCHES}")
        if len(views) == 0:
            return {branch: views.new_zeros(0, self.embed_dim, dtype=self.logit_scale.dtype) for branch in branches}
        normalized, embeddings = self._normalized(views), {}
        for branch in branches:
            if branch == 'pretrained':
                with torch.no_grad():
                    embeddings[branch] = torch.cat([
                        _embedding(self.clip.visual(chunk)) for chunk in normalized.split(
                            trunk_batch_size or len(views))])
            else:
                embeddings[branch] = _embedding(self.tuned_visual(normalized))
        return embeddings


def _embedding(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the embeddings of an image tower, which may also return tokens."""
    return output[0] if isinstance(output, tuple) else output
