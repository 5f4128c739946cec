"""Embed a text, an image or both as a query vector."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..apis import init_model
from ..models import OpenDlign, TriModalAligner
from ..models.prompts import encode_class_names
from ..models.trained_state import CLIPIdentity
from .index_files import check_types
from .shape_index import ShapeIndex


def model_of_index(index: ShapeIndex, device: str | torch.device = 'cpu') -> OpenDlign | TriModalAligner:
    """Build the model that made an index, for its queries.

    Queries need only the CLIP, which the checkpoint often does not hold. The index therefore also works without the
    checkpoint, as long as its config leads to the same CLIP.

    Raises:
        ValueError: The config and the checkpoint lead to another CLIP (the message names both), or the config needs a
            component that is not registered.
    """
    check_types(index.config.to_dict())
    try:
        stored, checkpoint = CLIPIdentity(**index.about['clip']), index.about.get('checkpoint')
    except (KeyError, TypeError) as error:
        raise ValueError(f'the index does not tell which CLIP made it ({error}); build it again') from error
    model = init_model(index.config, checkpoint if checkpoint and Path(checkpoint).is_file() else None, device)
    own = model.clip_backbone.clip_identity()
    if own.sha256 != stored.sha256:
        raise ValueError(f'the index was made with {stored}, but its config and checkpoint ({checkpoint}) lead to '
                         f'{own}. Restore the weights, or build the index again.')
    return model


@torch.no_grad()
def embed_query(model: OpenDlign | TriModalAligner, text: str | None = None,
                image: None | str | Path | Image.Image = None, templates: Sequence[str] = ('{}', )) -> np.ndarray:
    """Return the vector of a query: that of the text, that of the image, or the normalized mean of both.

    Args:
        model: Model in evaluation mode.
        text: Words to look for.
        image: Image or its path, see :func:`read_image`.
        templates: Prompts with ``{}`` for the text; their features are averaged.

    Returns:
        float32 (1, D), L2-normalized.

    Raises:
        ValueError: There is neither a text nor an image, the text is empty, or the image cannot be read.
    """
    parts = []
    if text is not None:
        if not text.strip():
            raise ValueError('the text of the query is empty')
        model.clip_backbone.check_prompts([text], templates)
        parts.append(encode_class_names(model.clip_backbone.encode_text, [text], templates))
    if image is not None:
        pixels = read_image(image, model.clip_backbone.image_size).to(model.clip_backbone.logit_scale.device)
        parts.append(model.embed_images(pixels[None, None]))
    if not parts:
        raise ValueError('a query needs a text, an image or both')
    return F.normalize(torch.stack([part.cpu() for part in parts]).mean(dim=0), dim=-1).numpy()


def read_image(image: str | Path | Image.Image, size: Sequence[int]) -> Tensor:
    """Read an image as CLIP expects it: shorter side resized (bicubic), center cropped, on a white background.

    Args:
        image: Image or its path.
        size: (H, W) in pixels.

    Returns:
        float32 (3, H, W) in [0, 1].

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not an image or is damaged; the message names it.
    """
    if not isinstance(image, Image.Image):
        path = Path(image)
        if not path.is_file():
            raise FileNotFoundError(f'image {path} does not exist')
        try:
            with Image.open(path) as file:
                image = file.copy()
        except (OSError, SyntaxError, ValueError) as error:  # raised by PIL for damaged files
            raise ValueError(f'{path} cannot be read as an image: {error}') from error
    image = image.convert('RGBA')
    image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    height, width = size
    factor = max(height / image.height, width / image.width)
    resized = [max(wanted, round(factor * pixels)) for wanted, pixels in ((width, image.width), (height, image.height))]
    left, top = (resized[0] - width) // 2, (resized[1] - height) // 2
    image = image.resize(resized, Image.BICUBIC).crop((left, top, left + width, top + height))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
