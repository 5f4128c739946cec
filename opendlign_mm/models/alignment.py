"""Alignment of a CLIP depth backbone: the features that the losses compare (OpenDlign, section 3.2 and table 5)."""
from collections.abc import Sequence
from functools import cached_property, partial

import torch
import torch.nn.functional as F

from ..structures import STORED_TOKENS, ShapeDataSample
from .captions import CaptionFeatures
from .color_views import ColorViews
from .contrastive_head import DepthImageContrastiveHead, object_features
from .pixels import checked_views
from .view_encoder import ViewEncoder
from .zero_shot_model import full_precision


class AligningModel(ViewEncoder):
    """Base of :class:`OpenDlign`: mode ``'loss'``, which aligns views, images and captions by the head's losses.

    Arguments are those of :class:`ViewEncoder`.
    """

    alignment_head: DepthImageContrastiveHead | None
    color: ColorViews | None

    @cached_property
    def caption_features(self) -> CaptionFeatures:
        """Features of the captions of a training; forgotten when other weights are loaded."""
        self.register_load_state_dict_post_hook(_forget_caption_features)
        return CaptionFeatures()

    def check_pairs(self) -> None:
        """Raise ValueError if a pair of the alignment head would train nothing.

        Images are encoded by the frozen branch and captions by the frozen text tower, unless the tuned branch is that
        of the images, too.
        """
        head = self.alignment_head
        if head is not None and 'image-text' in head.pairs and self.backbone.combine != 'shared':
            raise ValueError("the pair 'image-text' trains nothing, as images are encoded by the frozen branch: set "
                             "combine='shared' of the backbone, which encodes them by the tuned one, or leave the pair "
                             'out')

    def loss(self, inputs: dict[str, torch.Tensor], data_samples: Sequence[ShapeDataSample] | None = None
             ) -> dict[str, torch.Tensor]:
        """Compute the alignment losses of a batch; see :meth:`DepthImageContrastiveHead.loss`.

        Args:
            inputs: What the pairs of the head need: ``depth_views`` float (B, V, H, W) in [0, 1], and ``images``
                (B, V, 3, H, W) in [0, 1] or their features by the pretrained branch, ``image_features`` (B, V, D).
                Where color views are encoded by the tuned branch also ``color_views`` (B, V, 3, H, W) and
                ``has_color``, see :class:`ColorViews`. In the place of ``depth_views``: ``depth_tokens`` and
                ``depth_pretrained`` (B, V, ...), see :meth:`CLIPDepthBackbone.trunk_tokens`.
            data_samples: B samples with a ``caption``, if the head has a pair with texts.

        Raises:
            ValueError: The pairs of the head need images or captions that the batch lacks; the message says which.
            RuntimeError: The model was built without an alignment head.
        """
        head = self.needed(self.alignment_head, 'alignment_head', "mode 'loss'")
        if self.stored_input in inputs:
            self.check_stored_tokens()
        with_images = 'image' in head.modalities
        if with_images and not {'images', 'image_features'} & set(inputs):
            raise ValueError("alignment needs 'images' in addition to 'depth_views': the pipeline has to make or load "
                             'them')
        kinds = ('depth_views', ) if self.color is None else self.color.views_of_training()
        used = kinds * ('depth' in head.modalities) + ('images', ) * with_images
        views = checked_views({name: inputs[name] for name in used if name in inputs})
        text, caption_ids = (self.text_features(data_samples) if 'text' in head.modalities else (None, None))
        # Images first, as long as no graph of the depth views takes memory.
        image = self._image_features(views.get('images'), inputs.get('image_features')) if with_images else None
        depth = None
        if 'depth' in head.modalities:
            depth = (object_features(self._encode_tokens(inputs)) if self.stored_input in inputs
                     else self._depth_features(views, inputs.get('has_color')))
        return head.loss(depth, image, logit_scale=self.backbone.logit_scale.float().exp(), text_features=text,
                         caption_ids=caption_ids)

    def check_stored_tokens(self) -> None:
        """Raise ValueError if the training of this model cannot go on from stored tokens of depth views."""
        if self.backbone.combine == 'shared' or not self.backbone.num_blocks:
            raise ValueError("stored tokens need a tuned branch on frozen images: not combine='shared', which trains "
                             'the encoder of the images, too, and num_blocks >= 1; or leave token_dir out')
        if self.color is not None and self.color.is_trained:
            raise ValueError('stored tokens are of depth views, and color views are trained, too: set '
                             "color_head.branches='pretrained', or leave token_dir out")

    def _encode_tokens(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Embed views by the tuned branch from stored tokens: float32 (B, V, D), each view L2-normalized."""
        size = inputs[STORED_TOKENS[0]].shape[:2]
        tokens = {name: inputs[name].flatten(0, 1) for name in STORED_TOKENS if name in inputs}
        embeddings = self.backbone.encode_tokens(**tokens, num_views=size[1])
        with full_precision(embeddings):
            return F.normalize(embeddings.float(), dim=-1).unflatten(0, size)

    def text_features(self, data_samples: Sequence[ShapeDataSample] | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode the captions of samples by the frozen text tower.

        Args:
            data_samples: B samples with a ``caption``.

        Returns:
            Float32 (B, D), L2-normalized, and int64 (B,), a number for each caption; see :class:`CaptionFeatures`.

        Raises:
            ValueError: A sample has no caption.
        """
        captions = [str(sample.get('caption') or '') for sample in data_samples or ()]
        if not captions or not all(captions):
            names = [str(sample.get('sample_id') or 'a sample') for sample in data_samples or ()
                     if not sample.get('caption')]
            raise ValueError(f'the pairs with texts of the alignment head need captions, and '
                             f'{names[0] if names else "the batch"} has none: set '
                             "PackShapeInputs(caption='a photo of a {}') in the training pipeline")
        return self.caption_features(captions, self.backbone.encode_text, self.backbone.logit_scale.device,
                                     self.backbone.warn_of_long_captions)

    def _depth_features(self, views: dict[str, torch.Tensor], has_color: torch.Tensor | None) -> torch.Tensor:
        """Object features (B, D) of checked depth views, and of color views where these are trained, too."""
        if self.color is not None and self.color.is_trained:
            return self.color.aligned_features(views, has_color, partial(self._encode, branch='tuned'))
        return object_features(self._encode(views['depth_views'], 'tuned'))

    def _image_features(self, images: torch.Tensor | None, features: torch.Tensor | None) -> torch.Tensor:
        """Object features (B, D) of checked images, or of the features of their views."""
        shared = self.backbone.combine == 'shared'
        if shared and images is None:
            raise ValueError("combine='shared' trains the encoder of the images, too: image_features of the pretrained "
                             "branch cannot stand for them, leave out the dataset's image_features")
        if shared and images is not None:
            return object_features(self._encode(images, 'tuned'))
        with torch.no_grad():
            if features is None:
                assert images is not None  # :meth:`loss` has looked
                features = self._encode(images, 'pretrained')
            return object_features(F.normalize(features.float(), dim=-1))


def _forget_caption_features(model: AligningModel, _) -> None:
    model.caption_features.forget()
