"""CLIP image encoder with a frozen branch and a branch tuned to depth views."""
import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

from .clip_loading import ModelConfig, build_clip, build_tokenizer, resolve_model_config, resolve_weights
from .prompts import warn_of_unknown_words
from .trained_state import TrainedStateMixin
from .vision_tower import transformer_tower

BRANCHES = ('pretrained', 'tuned')
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@MODELS.register_module()
class CLIPDepthBackbone(TrainedStateMixin, BaseModule):
    """open_clip model whose image tower has a second, trainable end (OpenDlign, section 3.2).

    With x = T_{1..L-k}(image), the ``'pretrained'`` branch is CLIP's own T_{L-k+1..L}(x) and the ``'tuned'`` branch
    1/2 T_{L-k+1..L}(x) + 1/2 T'_{L-k+1..L}(x), where T' is a trainable copy of the last k blocks. Final norm and
    projection follow as in CLIP. Everything but T' is frozen and stays in evaluation mode; no gradient is computed
    through T. The text tower is part of the same open_clip model.

    Args:
        clip: open_clip model name (``'ViT-H-14-quickgelu'``), the CLIP of this package (``'opendlign-tiny'``), or a
            name of your own beside ``model_config``.
        pretrained: open_clip tag, path of a weight file, ``'builtin'`` (a CLIP of this package) or None (random).
        model_config: open_clip model configuration, as a dict or the path of a JSON file, for a model that
            open_clip does not know.
        num_blocks: k, how many of the last blocks are copied; 0 builds the pretrained branch alone.
        copy_init: ``'pretrained'`` or ``'random'`` start of what is trained in T'.
        combine: ``'residual'`` as above, or ``'direct'``: the tuned branch is T'(x) alone (paper, ablation).
        trainable: ``'attention'`` (in- and out-projection of T', biases included) or ``'all'`` of T'.
        pixel_mean, pixel_std: Per RGB channel, of pixels in [0, 1]. OpenDlign normalizes with ImageNet's values, not
            CLIP's. ``pixel_mean=None`` takes images as already normalized.
        resize: Resize other input sizes bilinearly instead of refusing them.
        output: ``'embedding'``: ``forward`` gives embeddings. ``'feature_map'``: it gives a tuple of one feature map
            (N, width, h, w), as detectors expect of an image backbone, of the tuned branch if there is one.
        random_seed: Seed of the weights with ``pretrained=None``; they are the same in each process.
        init_cfg: mmengine initialization config.

    Attributes:
        embed_dim (int): D, length of the embeddings; image_size (tuple): (H, W); out_channels (int): channels of the
        feature map (0 where there is none); logit_scale (Tensor): scalar, logarithm of CLIP's logit scale.

    Raises:
        ValueError: unknown name or option; ``num_blocks`` > 0 on an image tower that is not a plain ViT (ResNet,
            ConvNeXt, Swin, EVA).
        FileNotFoundError: no such configuration or weights (says where it looked and how to get them).
    """

    def __init__(self,
                 clip: str = 'ViT-H-14-quickgelu',
                 pretrained: str | None = None,
                 model_config: ModelConfig = None,
                 num_blocks: int = 1,
                 copy_init: str = 'pretrained',
                 combine: str = 'residual',
                 trainable: str = 'attention',
                 pixel_mean: Sequence[float] | None = IMAGENET_MEAN,
                 pixel_std: Sequence[float] = IMAGENET_STD,
                 resize: bool = False,
                 output: str = 'embedding',
                 random_seed: int = 0,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if combine not in ('residual', 'direct'):
            raise ValueError(f"combine must be 'residual' or 'direct', got {combine!r}")
        if output not in ('embedding', 'feature_map'):
            raise ValueError(f"output must be 'embedding' or 'feature_map', got {output!r}")
        self.clip_name, self.combine, self.resize, self.output = clip, combine, resize, output
        self.clip_config = resolve_model_config(clip, model_config)
        weights = resolve_weights(clip, pretrained, bool(self.clip_config.get('quick_gelu', False)))
        # Of a path only the file's name: a checkpoint must not depend on where a file lies.
        self.pretrained_label = (f'random, seed {random_seed}' if weights is None
                                 else Path(pretrained).name if Path(pretrained).expanduser().is_file() else pretrained)
        self.clip = build_clip(clip, self.clip_config, weights, random_seed).requires_grad_(False).eval()

        visual = self.clip.visual
        try:
            self.tower = transformer_tower(visual)
        except ValueError as reason:
            if num_blocks > 0 or output == 'feature_map':
                raise ValueError(f"CLIP '{clip}' has no tuned branch and no feature map: {reason}. Use num_blocks=0 "
                                 "and output='embedding' for its pretrained branch.") from None
            self.tower = None
        available = len(self.tower.blocks) if self.tower else 0
        if not 0 <= num_blocks <= available:
            raise ValueError(f"num_blocks must be from 0 to the {available} blocks of CLIP '{clip}', got {num_blocks}")
        self.num_blocks = num_blocks
        self.tuned_blocks = trainable_copy(self.source_blocks(), copy_init, trainable)

        self.embed_dim = int(self.clip_config['embed_dim'])
        size = visual.image_size
        self.image_size = (size, size) if isinstance(size, int) else tuple(size)
        self.out_channels = self.tower.width if self.tower else 0
        normalize = pixel_mean is not None
        self.register_buffer('pixel_mean', torch.tensor(pixel_mean).view(3, 1, 1) if normalize else None, False)
        self.register_buffer('pixel_std', torch.tensor(pixel_std).view(3, 1, 1) if normalize else None, False)
        self._tokenizer = None
        self._init_trained_state()

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches this backbone has."""
        return BRANCHES if self.num_blocks else BRANCHES[:1]

    @property
    def logit_scale(self) -> torch.Tensor:
        return self.clip.logit_scale

    def source_blocks(self) -> list[nn.Module]:
        """The frozen last blocks T_{L-k+1..L} that ``tuned_blocks`` were copied from."""
        return self.tower.blocks[len(self.tower.blocks) - self.num_blocks:] if self.num_blocks else []

    def train(self, mode: bool = True) -> 'CLIPDepthBackbone':
        super().train(mode)
        self.clip.eval()
        return self

    def forward(self, views: torch.Tensor, branches: Sequence[str] | None = None
                ) -> dict[str, torch.Tensor] | tuple[torch.Tensor]:
        """Encode images.

        Args:
            views: float (N, 3, H, W) in [0, 1], RGB, of ``image_size`` unless ``resize``. N may be 0.
            branches: The branches to compute, in one pass of the trunk; all there are by default.

        Returns:
            dict: branch -> embeddings (N, D), not normalized. With ``output='feature_map'`` instead a tuple of one
            map (N, ``out_channels``, h, w).

        Raises:
            TypeError: views are not floating point.
            ValueError: wrong shape, or a branch that does not exist.
        """
        views = self._checked(views)
        if self.output == 'feature_map':
            branch = (branches or self.branches)[-1]
            return (self.tower.feature_map(self._tokens(views, (branch, ))[branch]), )
        branches = self.branches if branches is None else tuple(branches)
        unknown = [branch for branch in branches if branch not in self.branches]
        if unknown or not branches:
            raise ValueError(f"no branch {', '.join(map(repr, unknown)) or 'given'}: this backbone "
                             f"(num_blocks={self.num_blocks}) has {self.branches}")
        if len(views) == 0:
            return {branch: views.new_zeros(0, self.embed_dim) for branch in branches}
        if self.tower is None:
            with torch.no_grad():
                embeddings = self.clip.visual(self._normalized(views))
            return {'pretrained': embeddings[0] if isinstance(embeddings, tuple) else embeddings}
        return {branch: self._pool(tokens, branch) for branch, tokens in self._tokens(views, branches).items()}

    def _tokens(self, views: torch.Tensor, branches: Sequence[str]) -> dict[str, torch.Tensor]:
        """Tokens of each branch after its last block."""
        blocks = self.tower.blocks
        split = len(blocks) - self.num_blocks
        needs_frozen_end = 'pretrained' in branches or self.combine == 'residual'
        # Nothing before T' is trained, so no graph of it is kept.
        with torch.no_grad():
            trunk = self.tower.embed(self._normalized(views))
            for block in blocks[:split]:
                trunk = block(trunk)
            frozen = trunk
            for block in blocks[split:] if needs_frozen_end else ():
                frozen = block(frozen)
        tokens = {}
        for branch in branches:
            tokens[branch] = frozen
            if branch == 'tuned':
                tuned = trunk
                for block in self.tuned_blocks:
                    tuned = block(tuned)
                tokens[branch] = 0.5 * frozen + 0.5 * tuned if self.combine == 'residual' else tuned
        return tokens

    def _pool(self, tokens: torch.Tensor, branch: str) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and branch == 'tuned'):
            return self.tower.pool(tokens)

    def _checked(self, views: torch.Tensor) -> torch.Tensor:
        if views.ndim != 4 or views.shape[1] != 3:
            raise ValueError(f'views must have shape (N, 3, H, W), got {tuple(views.shape)}')
        if not views.is_floating_point():
            raise TypeError(f'views must be floating point in [0, 1], got {views.dtype}; divide uint8 images by 255')
        if tuple(views.shape[-2:]) != self.image_size:
            if not self.resize:
                raise ValueError(f"CLIP '{self.clip_name}' takes images of {self.image_size} pixels, got "
                                 f'{tuple(views.shape[-2:])}. Make views of that resolution or set resize=True.')
            if len(views):
                views = F.interpolate(views, self.image_size, mode='bilinear', align_corners=False, antialias=True)
        return views

    def _normalized(self, views: torch.Tensor) -> torch.Tensor:
        if self.pixel_mean is None:
            return views
        return (views - self.pixel_mean) / self.pixel_std

    def text_encoder_key(self) -> str | None:
        """What decides the embeddings of :meth:`encode_text`: weights by their hash, configuration and tokenizer.

        None on the meta device, where there are no weights.
        """
        weights = self.clip_identity().sha256
        return None if weights is None else json.dumps([weights, self.clip_name, self.clip_config], sort_keys=True)

    def pretrained_branch_identity(self) -> dict:
        """What decides the features of the pretrained branch, as JSON holds it: weights by their hash, and pixels."""
        pixels = None if self.pixel_mean is None else [self.pixel_mean.flatten().tolist(),
                                                       self.pixel_std.flatten().tolist()]
        return dict(asdict(self.clip_identity()), pixels=pixels)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts -> embeddings float32 (number of texts, D) on the device of the model, not normalized."""
        if self._tokenizer is None:
            self._tokenizer = build_tokenizer(self.clip_name, self.clip_config)
        tokens = self._tokenizer(list(texts))
        warn_of_unknown_words(tokens, getattr(self.clip, 'known_token_ids', None), self._tokenizer)
        device = self.logit_scale.device
        # Class features are computed once and used for every view: they are not worth a rounding.
        with torch.autocast(device_type=device.type, enabled=False):
            return self.clip.encode_text(tokens.to(device), normalize=False).float()


def attention_projections(block: nn.Module) -> list[nn.Parameter]:
    """Weights and biases of the in- and out-projection of a block's attention: what OpenDlign trains."""
    # in_proj, out_proj in PyTorch and open_clip; qkv, proj in timm.
    return [parameter for name, parameter in block.attn.named_parameters()
            if name.startswith(('in_proj', 'out_proj', 'qkv.', 'proj.'))]


def trainable_copy(blocks: Sequence[nn.Module], copy_init: str = 'pretrained',
                   trainable: str = 'attention') -> nn.ModuleList:
    """Copy transformer blocks and make part of the copy trainable.

    Args:
        blocks: The blocks T_{L-k+1..L} to copy; they stay as they are.
        copy_init: ``'pretrained'``: start from the blocks' weights. ``'random'``: what is trained starts anew (the
            rest keeps the blocks' weights), the paper's ablation of the initialization.
        trainable: ``'attention'``: in- and out-projection of the attention only. ``'all'``: the whole blocks.

    Raises:
        ValueError: an option that does not exist.
    """
    if copy_init not in ('pretrained', 'random'):
        raise ValueError(f"copy_init must be 'pretrained' or 'random', got {copy_init!r}")
    if trainable not in ('attention', 'all'):
        raise ValueError(f"trainable must be 'attention' or 'all', got {trainable!r}")
    copies = nn.ModuleList(copy.deepcopy(block) for block in blocks)
    for block in copies:
        block.requires_grad_(False)
        parameters = attention_projections(block) if trainable == 'attention' else list(block.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        if copy_init == 'random':
            if trainable == 'all':
                for layer in block.modules():
                    if isinstance(layer, (nn.Linear, nn.LayerNorm)):
                        layer.reset_parameters()
            _initialize_projections(block)
    return copies


def _initialize_projections(block: nn.Module) -> None:
    """In- and out-projection as ``nn.MultiheadAttention`` initializes them."""
    for parameter in attention_projections(block):
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
