"""What shapes are aligned with: features of texts and images by a frozen CLIP, which a model may lack."""
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..structures import ShapeDataSample
from .clip_backbone import CLIPDepthBackbone
from .contrastive_head import object_features
from .zero_shot_model import Component, ZeroShotModel, build_component, embed_views


class FrozenTargetsModel(ZeroShotModel):
    """Base of :class:`TriModalAligner` with the CLIP of texts and images. Arguments are those of ``ZeroShotModel``.

    Checkpoints may lack the CLIP, and their CLIP is left out where the model has none.
    """

    image_adapter: nn.Module | None
    text_encoder: CLIPDepthBackbone | None

    def init_text_encoder(self, text_encoder: Component | None) -> None:
        """Build the CLIP; None: the model has none.

        Raises:
            ValueError: The CLIP has a tuned branch.
        """
        self.text_encoder = None if text_encoder is None else build_component(text_encoder)
        if self.text_encoder is not None and self.text_encoder.num_blocks:
            raise ValueError('the text encoder is a frozen CLIP: set its num_blocks=0')
        self._register_load_state_dict_pre_hook(self._leave_out_unused_clip)
        self.register_load_state_dict_post_hook(_allow_absent_clip)

    @property
    def clip_backbone(self) -> CLIPDepthBackbone:
        """The CLIP of texts and images.

        Raises:
            RuntimeError: The model was built without one.
        """
        return self.needed(self.text_encoder, 'a CLIP (text_encoder; or class_features, and stored features for '
                           'training)', 'encoding texts and images')

    @torch.no_grad()
    def encode_views(self, images: Tensor, branch: str = 'pretrained') -> Tensor:
        """Embed images with the CLIP, without an adapter: features for ``tools/encode_images.py``.

        Args:
            images: Float (B, P, 3, H, W) in [0, 1].
            branch: Not used; a frozen CLIP has one.

        Returns:
            Float32 (B, P, D), L2-normalized.
        """
        features = embed_views(self.clip_backbone, images, ('pretrained', ), self.encode_batch_size)['pretrained']
        return F.normalize(features.float(), dim=-1)

    def _image_features(self, inputs: Mapping[str, Any]) -> Tensor:
        """Return image features (B, P, D), adapted where there is an adapter, not normalized after it."""
        if 'image_features' in inputs:
            features = inputs['image_features'].float()
        elif 'images' in inputs:
            features = self.encode_views(inputs['images'])
        else:
            raise ValueError(f"alignment needs 'image_features' or 'images' in addition to 'points', got "
                             f'{sorted(inputs)}; the pipeline has to load or make them')
        features = F.normalize(features, dim=-1)
        return features if self.image_adapter is None else self.image_adapter(features)

    def _text_features(self, inputs: Mapping[str, Any], data_samples: Sequence[ShapeDataSample] | None
                       ) -> tuple[Tensor | None, Tensor | None]:
        """Return text features (B, D) and which rows have one."""
        if 'text_features' in inputs:
            return inputs['text_features'].float(), inputs.get('has_text')
        texts = [sample.get('text') for sample in data_samples or ()]
        if not any(texts):
            return None, None
        encoded = self.clip_backbone.encode_text([text or '' for text in texts])
        return encoded, torch.tensor([bool(text) for text in texts], device=encoded.device)

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Embed the images of objects, float (B, P, 3, H, W) in [0, 1], as float32 (B, D), L2-normalized."""
        return object_features(self._image_features(dict(images=images)))

    def _leave_out_unused_clip(self, state_dict: dict, prefix: str, *_) -> None:
        self._loaded_clip = any(key.startswith(f'{prefix}text_encoder.') for key in state_dict)
        if self.text_encoder is None:
            for key in [key for key in state_dict if key.startswith(f'{prefix}text_encoder.')]:
                del state_dict[key]


def _allow_absent_clip(model: FrozenTargetsModel, incompatible_keys) -> None:
    if not model._loaded_clip:
        incompatible_keys.missing_keys[:] = [key for key in incompatible_keys.missing_keys
                                             if not key.endswith('text_encoder.clip_identity')]
