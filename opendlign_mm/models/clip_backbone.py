"""CLIP backbone: an image encoder with a pretrained branch and a branch tuned to depth views, and the text encoder."""
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule

from .clip_loading import ModelConfig, build_clip, build_tokenizer, resolve_model_config, resolve_weights
from .compiled_steps import Compiled, checked_compiled
from .cross_view import CrossViewAttention
from .image_branches import ImageBranchesMixin
from .pixels import PixelStatistic, resolve_pixel_statistics
from .precision import Precision, checked_precision
from .prompt_lengths import check_prompt_lengths, warn_of_long_captions
from .prompts import warn_of_unknown_words
from .trainable_copy import CopyInit, Trainable, trainable_copy
from .vision_tower import transformer_tower
from .zero_shot_model import full_precision


@MODELS.register_module()
class CLIPDepthBackbone(ImageBranchesMixin, BaseModule):
    """open_clip model whose image tower has a second, trainable end (OpenDlign, section 3.2).

    With x = T_{1..L-k}(image), the ``'pretrained'`` branch is CLIP's own T_{L-k+1..L}(x) and the ``'tuned'`` branch
    1/2 T_{L-k+1..L}(x) + 1/2 T'_{L-k+1..L}(x), where T' is a trainable copy of the last k blocks. Final norm and
    projection follow as in CLIP. Everything but T' is frozen and stays in evaluation mode; no gradient is computed
    through T. The text tower is part of the same open_clip model.

    Args:
        clip: An open_clip model name (``'ViT-H-14-quickgelu'``), the CLIP of this package (``'opendlign-tiny'``), or
            any name together with ``model_config``.
        pretrained: An open_clip tag, the path of a weight file, ``'builtin'`` (a CLIP of this package) or None (random
            weights).
        model_config: open_clip model configuration, as a dict or the path of a JSON file, for a model that
            open_clip does not know.
        num_blocks: k, the number of last blocks that are copied; 0 builds the pretrained branch alone.
        stacked: Whether T' is the last block k times in a row on x = T_{1..L-1}(image), as in the authors' code, whose
            models have k = 1, instead of a copy of the last k blocks.
        copy_init: Start of T': ``'pretrained'``, ``'random'`` for its trained parameters, or ``'random_block'`` for all
            of them (OpenDlign's ablation, which the paper words as the block).
        combine: ``'residual'`` as above, ``'direct'``: the tuned branch is T'(x) alone, or ``'shared'``: in addition
            :class:`OpenDlign` aligns images by the tuned branch, too, as without a copy (OpenDlign's ablation).
            ``'multi_view'``: as ``'residual'``, and in front of T' the tokens of all views of an object attend to each
            other (:class:`CrossViewAttention`, trained, without effect at the start): not a part of the paper.
        trainable: Trained parameters of T': ``'attention'`` (in- and out-projection, biases included) or ``'all'``.
        pixel_mean: Mean per RGB channel of pixels in [0, 1]: three numbers, ``'imagenet'``, or ``'clip'``, the mean
            that the CLIP was trained with. ``'default'``: ImageNet's, as in OpenDlign's released code, with a warning
            for another CLIP than the paper's. None: images are taken as already normalized.
        pixel_std: Standard deviation per RGB channel, with the same options.
        resize: Resize other input sizes bilinearly instead of refusing them.
        output: ``'embedding'``: ``forward`` returns embeddings. ``'feature_map'``: it returns a tuple of one feature
            map (N, width, h, w), as detectors expect of an image backbone, of the tuned branch if there is one.
        precision: Precision of the frozen weights of the image tower and of what it computes: ``'fp32'``, ``'bf16'``,
            ``'fp16'`` (inference on GPUs) or ``'auto'``: ``'bf16'`` where the device has units for it (see
            :func:`resolve_precision`), otherwise ``'fp32'``. Trained parameters, the text tower and the embeddings are
            float32 in any case; checkpoints and the identity of the CLIP do not depend on it. Stored features serve
            each precision: they differ by rounding alone. With ``'fp32'`` the computation follows autocast.
        compiled: Compile the frozen blocks by ``torch.compile``, without a break of the graph: the first pass takes
            seconds longer, later ones less time on a GPU. ``'tuned'``: kernels are chosen by measuring them, which
            takes a minute or more. It needs an image tower that can be split into blocks.
        random_seed: Seed of the weights with ``pretrained=None``; they are the same in each process.
        init_cfg: Initialization config of mmengine.

    Attributes:
        embed_dim: D, length of the embeddings.
        image_size: (H, W) in pixels.
        out_channels: Channels of the feature map; 0 where there is none.

    Raises:
        ValueError: A name or an option does not exist, or ``num_blocks`` > 0 on an image tower that is not a plain
            ViT, an EVA or a ResNet with attention pool (ConvNeXt, Swin, FastViT).
        FileNotFoundError: There is no such configuration, or no such weights.
    """

    def __init__(self,
                 clip: str = 'ViT-H-14-quickgelu',
                 pretrained: str | None = None,
                 model_config: ModelConfig = None,
                 num_blocks: int = 1,
                 stacked: bool = False,
                 copy_init: CopyInit = 'pretrained',
                 combine: Literal['residual', 'direct', 'shared', 'multi_view'] = 'residual',
                 trainable: Trainable = 'attention',
                 pixel_mean: PixelStatistic = 'default',
                 pixel_std: PixelStatistic = 'default',
                 resize: bool = False,
                 output: Literal['embedding', 'feature_map'] = 'embedding',
                 precision: Precision = 'fp32',
                 compiled: Compiled = False,
                 random_seed: int = 0,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if combine not in ('residual', 'direct', 'shared', 'multi_view'):
            raise ValueError(f"combine must be 'residual', 'direct', 'shared' or 'multi_view', got {combine!r}")
        if output not in ('embedding', 'feature_map'):
            raise ValueError(f"output must be 'embedding' or 'feature_map', got {output!r}")
        self.clip_name, self.combine, self.resize, self.output = clip, combine, resize, output
        self.precision = checked_precision(precision)
        self.clip_config = resolve_model_config(clip, model_config)
        weights = resolve_weights(clip, pretrained, bool(self.clip_config.get('quick_gelu', False)))
        self.pretrained_label = _label(pretrained, random_seed)
        self.clip = build_clip(clip, self.clip_config, weights, random_seed).requires_grad_(False).eval()

        self.tower = self._transformer_tower(num_blocks, compiled)
        self.compiled = checked_compiled(compiled)
        self.num_blocks, self.stacked = num_blocks, stacked
        self.tuned_blocks = trainable_copy(self.source_blocks(), copy_init, trainable)
        self.cross_view = None
        if combine == 'multi_view':
            if not num_blocks or output == 'feature_map' or not self.tower.has_feature_map:
                raise ValueError("combine='multi_view' needs a tuned branch of a vision transformer, and embeddings; "
                                 f"CLIP '{clip}' with num_blocks={num_blocks} and output={output!r} has none")
            self.cross_view = CrossViewAttention(self.tower.width, self.source_blocks()[0], random_seed)

        self.embed_dim = int(self.clip_config['embed_dim'])
        size = self.clip.visual.image_size
        self.image_size = (size, size) if isinstance(size, int) else tuple(size)
        self.out_channels = self.tower.width if self.tower else 0
        statistics = resolve_pixel_statistics(pixel_mean, pixel_std, clip, pretrained, self.clip_config)
        for index, name in enumerate(('pixel_mean', 'pixel_std')):
            values = None if statistics is None else torch.tensor(statistics[index]).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self._tokenizer: Callable[..., torch.Tensor] | None = None
        self._init_trained_state()

    def _transformer_tower(self, num_blocks: int, compiled: Compiled) -> Any:
        """Return the image tower as blocks, or None where it has none and none are needed."""
        clip, tower = self.clip_name, None
        try:
            tower = transformer_tower(self.clip.visual)
        except ValueError as reason:
            if num_blocks > 0 or self.output == 'feature_map':
                raise ValueError(f"CLIP '{clip}' has no tuned branch and no feature map: {reason}; use num_blocks=0 "
                                 "and output='embedding' for its pretrained branch") from None
        if self.output == 'feature_map' and tower and not tower.has_feature_map:
            raise ValueError(f"CLIP '{clip}' has no feature map after its last block: use output='embedding'")
        if compiled and tower is None:
            raise ValueError(f"compiled={compiled!r} compiles the blocks of an image tower, which CLIP '{clip}' does "
                             'not have')
        available = len(tower.blocks) if tower else 0
        if not 0 <= num_blocks <= available:
            raise ValueError(f"num_blocks must be from 0 to the {available} blocks of CLIP '{clip}', got {num_blocks}")
        return tower

    @property
    def logit_scale(self) -> torch.Tensor:
        """Logarithm of CLIP's logit scale, a scalar."""
        return self.clip.logit_scale

    def train(self, mode: bool = True) -> 'CLIPDepthBackbone':
        """Set the mode of T'; everything else stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def forward(self, views: torch.Tensor, branches: Sequence[str] | None = None, trunk_batch_size: int | None = None,
                num_views: int = 1) -> dict[str, torch.Tensor] | tuple[torch.Tensor]:
        """Encode images.

        Args:
            views: Float (N, 3, H, W) in [0, 1], RGB, of ``image_size`` unless ``resize``. N may be 0.
            branches: Branches to compute, in one pass of the trunk; default: all of them.
            trunk_batch_size: Number of views per pass of the frozen blocks, which bounds their memory; default: all.
            num_views: Number of views of an object, which follow each other, for ``combine='multi_view'``.

        Returns:
            Dict branch -> embeddings (N, D), not normalized. With ``output='feature_map'``: a tuple of one map
            (N, ``out_channels``, h, w).

        Raises:
            TypeError: The views are not floating point.
            ValueError: The views have a wrong shape, are no multiple of ``num_views``, or a branch does not exist.
        """
        views = self._checked(views)
        if num_views < 1 or len(views) % num_views:
            raise ValueError(f'{len(views)} views are not those of objects with {num_views} views each')
        if self.output == 'feature_map':
            return (self._feature_map(views, (branches or self.branches)[-1], trunk_batch_size), )
        branches = self.branches if branches is None else tuple(branches)
        unknown = [branch for branch in branches if branch not in self.branches]
        if unknown or not branches:
            raise ValueError(f"no branch {', '.join(map(repr, unknown)) or 'given'}: this backbone "
                             f"(num_blocks={self.num_blocks}) has {self.branches}")
        if len(views) == 0:
            dtype = next(self.clip.visual.parameters()).dtype if self.precision == 'fp32' else torch.float32
            return {branch: views.new_zeros(0, self.embed_dim, dtype=dtype) for branch in branches}
        return self._embeddings(views, branches, trunk_batch_size, num_views)

    def text_encoder_key(self) -> str | None:
        """Return a cache key of :meth:`encode_text`: hash of the weights, name and configuration of the model.

        On the meta device, where there are no weights, it is None.
        """
        weights = self.clip_identity().sha256
        return None if weights is None else json.dumps([weights, self.clip_name, self.clip_config], sort_keys=True)

    def pretrained_branch_identity(self) -> dict:
        """Return what decides the features of the pretrained branch, for JSON: the CLIP and the pixel statistics."""
        pixels = None
        if self.pixel_mean is not None and self.pixel_std is not None:
            pixels = [self.pixel_mean.flatten().tolist(), self.pixel_std.flatten().tolist()]
        identity = self.clip_identity()
        return dict(name=identity.name, pretrained=identity.pretrained, sha256=identity.sha256, pixels=pixels)

    @property
    def known_token_ids(self) -> torch.Tensor | None:
        """Tokens that the CLIP was trained on, int64 (K,); None: all of its tokenizer."""
        return getattr(self.clip, 'known_token_ids', None)

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the tokens of texts, int64 (number of texts, context length)."""
        if self._tokenizer is None:
            self._tokenizer = build_tokenizer(self.clip_name, self.clip_config)
        return self._tokenizer(list(texts))

    def check_prompts(self, class_names: Sequence[str], templates: Sequence[str], sentences: Sequence[str] = ()
                      ) -> None:
        """Warn of prompts that are longer than this CLIP reads; see :func:`.check_prompt_lengths`."""
        context_length = self.tokenize(['']).shape[1]
        assert self._tokenizer is not None
        check_prompt_lengths(class_names, templates, sentences, self._tokenizer, context_length)

    def warn_of_long_captions(self, captions: Sequence[str]) -> bool:
        """Warn of captions that are longer than this CLIP reads; see :func:`.warn_of_long_captions`."""
        context_length = self.tokenize(['']).shape[1]
        assert self._tokenizer is not None
        return warn_of_long_captions(captions, self._tokenizer, context_length)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode texts.

        Returns:
            Float32 (number of texts, D) on the device of the model, not normalized.
        """
        tokens = self.tokenize(texts)
        warn_of_unknown_words(tokens, self.known_token_ids, self._tokenizer)
        device = self.logit_scale.device
        # Class features are computed once and used for every view: rounding would save nothing.
        with full_precision(self.logit_scale):
            return self.clip.encode_text(tokens.to(device), normalize=False).float()


def _label(pretrained: str | None, random_seed: int) -> str:
    """What a checkpoint says about the weights: of a path only the name, as it must not depend on where a file lies."""
    if pretrained is None:
        return f'random, seed {random_seed}'
    path = Path(pretrained).expanduser()
    return path.name if path.is_file() else pretrained
