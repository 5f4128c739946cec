"""TAMM's adapters: of image features, and from a point encoder to the spaces of images and of texts."""
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel, BaseModule
from torch import Tensor, nn

from ..structures import ShapeDataSample
from .pixels import PointDataPreprocessor
from .tri_modal_head import TriModalContrastiveHead
from .zero_shot_model import Component, build_component


@MODELS.register_module()
class AlignmentAdapter(BaseModule):
    """Two layers from the feature of a point encoder to the space of images or of texts (TAMM, Zhang et al., 2024).

    Each is a linear layer, batch norm, GELU and dropout, so that the output, too, ends with a GELU and dropout.

    Args:
        in_channels: Channels of the point encoder.
        hidden_channels: Channels between the layers.
        out_channels: Channels D of the CLIP.
        bias: Whether the linear layers have a bias: with PointBERT, not with SparseConv.
        dropout: Share of channels dropped in training: PointBERT 0.5 towards images, 0.2 towards texts; SparseConv
            0.5 in both.
        init_cfg: See mmengine.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, bias: bool = True,
                 dropout: float = .5, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        widths = ((in_channels, hidden_channels), (hidden_channels, out_channels))
        self.layers = nn.Sequential(*(layer for before, after in widths for layer in (
            nn.Linear(before, after, bias=bias), nn.BatchNorm1d(after), nn.GELU(), nn.Dropout(dropout))))
        self.out_channels = out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in_channels) to (B, out_channels)."""
        return self.layers(features)


class AdapterPair(nn.ModuleDict):
    """TAMM's adapters towards texts and towards images, whose cosines are added with weights.

    Args:
        adapters: The :class:`AlignmentAdapter` towards ``'text'`` and that towards ``'image'``, or their configs.
        weights: Weights of their cosines; default 1 and 0.5.

    Raises:
        ValueError: ``adapters`` has other keys.
    """

    def __init__(self, adapters: Mapping[str, Component], weights: Mapping[str, float] | None = None) -> None:
        if set(adapters) != {'text', 'image'}:
            raise ValueError(f"adapters must be those towards 'text' and 'image', got {sorted(adapters)}")
        super().__init__({name: build_component(adapters[name]) for name in ('text', 'image')})
        self.weights = dict(weights or dict(text=1., image=.5))

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return both embeddings, float32 (B, D), of the features (B, C) of a point encoder."""
        return {name: adapter(features).float() for name, adapter in self.items()}

    def joined(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Return (B, 2 D): both embeddings, each normalized and weighted, L2-normalized together.

        The cosine with a class feature given twice is the weighted sum of the cosines up to a factor.
        """
        parts = [self.weights[name] * F.normalize(embeddings[name], dim=-1) for name in ('text', 'image')]
        return F.normalize(torch.cat(parts, dim=-1), dim=-1)

    def class_features(self, classes: Tensor) -> Tensor:
        """Return class features (C, 2 D) whose products with :meth:`joined` are the weighted sums of the cosines."""
        length = sum(weight**2 for weight in self.weights.values())**.5
        return torch.cat([classes, classes], dim=-1) * length

    def summed(self, joined: Tensor) -> Tensor:
        """Return the weighted sum (B, D) of both normalized embeddings up to a factor, of :meth:`joined`."""
        first, second = joined.chunk(2, dim=-1)
        return first + second


@MODELS.register_module()
class CLIPImageAdapter(BaseModule):
    """TAMM's adapter of CLIP's image features to renderings: 0.2 ReLU(W2 ReLU(W1 f)) + 0.8 f.

    Args:
        channels: Channels D of the CLIP.
        reduction: W1 has D / ``reduction`` rows.
        ratio: Share of the adapted feature.
        init_cfg: See mmengine.
    """

    def __init__(self, channels: int = 1280, reduction: int = 4, ratio: float = .2, init_cfg: dict | None = None
                 ) -> None:
        super().__init__(init_cfg)
        self.ratio = ratio
        self.fc = nn.Sequential(nn.Linear(channels, channels // reduction, bias=False), nn.ReLU(inplace=True),
                                nn.Linear(channels // reduction, channels, bias=False), nn.ReLU(inplace=True))

    def forward(self, features: Tensor) -> Tensor:
        """Adapt normalized features (..., D); the result is not normalized."""
        return self.ratio * self.fc(features) + (1 - self.ratio) * features


@MODELS.register_module()
class ImageAdapterAligner(BaseModel):
    """First stage of TAMM: the CLIP image adapter, trained to bring image features to those of their texts.

    Args:
        image_adapter: A :class:`CLIPImageAdapter` or its config.
        alignment_head: A ``TriModalContrastiveHead`` or its config; its loss with images is used.
        data_preprocessor: Default: ``PointDataPreprocessor``.
        init_cfg: See mmengine.
    """

    def __init__(self, image_adapter: Component, alignment_head: Component | None = None,
                 data_preprocessor: Component | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(build_component(data_preprocessor or PointDataPreprocessor()), init_cfg)
        self.image_adapter: CLIPImageAdapter = build_component(image_adapter)
        self.alignment_head: TriModalContrastiveHead = build_component(alignment_head or TriModalContrastiveHead())

    def forward(self, inputs: dict[str, Tensor], data_samples: Sequence[ShapeDataSample] | None = None,
                mode: str = 'tensor') -> Tensor | dict[str, Tensor]:
        """Run the adapter.

        Args:
            inputs: ``image_features`` float (B, P, D); for mode ``'loss'`` also ``text_features`` float (B, D) and,
                where some shapes have no text, ``has_text`` bool (B,).
            data_samples: Not used.
            mode: ``'loss'``, or ``'tensor'``: the adapted features (B, P, D), L2-normalized.

        Raises:
            ValueError: There is no such mode, or ``inputs`` lack an entry.
        """
        missing = [key for key in ('image_features', 'text_features') if key not in inputs]
        if mode not in ('loss', 'tensor'):
            raise ValueError(f"the image adapter has the modes 'loss' and 'tensor', got {mode!r}; it classifies "
                             'nothing: train the second stage with it')
        if missing and (mode == 'loss' or missing == ['image_features']):
            raise ValueError(f'inputs have no {", ".join(map(repr, missing))}, only {sorted(inputs)}')
        images = self.image_adapter(F.normalize(inputs['image_features'].float(), dim=-1))
        if mode == 'tensor':
            return F.normalize(images, dim=-1)
        text = inputs['text_features']
        has_text = inputs.get('has_text', torch.ones(len(text), dtype=torch.bool, device=text.device))
        # The head leaves out pairs without text on its side of texts: there the first image takes the shape's place.
        losses = [self.alignment_head.loss(dict(text=images[:, index], image=images[:, index]), text,
                                           images[:, index, None], has_text) for index in range(images.shape[1])]
        return dict(loss_text=torch.stack([each['loss_text'] for each in losses]).sum(),
                    text_accuracy=torch.stack([each['text_accuracy'] for each in losses]).mean(),
                    logit_scale=losses[0]['logit_scale'])
