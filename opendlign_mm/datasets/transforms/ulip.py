"""Draw the text and the rendering that ULIP pairs with an object of ShapeNet-55 in one step of its training."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from PIL import Image

from ..released import read_aligned_images

AZIMUTHS = range(0, 360, 12)
KINDS = ('', '_depth0001')  # rendering in color, and of depth


@TRANSFORMS.register_module()
class DrawTextAndRendering(BaseTransform):
    """Transform that draws one name of an object's class and one of its 60 renderings (ULIP, section 3.1).

    The name is one of the synonyms of its synset, without a template. The rendering, from one of 30 azimuths, in color
    or of depth, is cropped at random to a share of its area between ``min_scale`` and 1 and resized.

    Required keys:
        synonyms: Names of the class.
        rendering_prefix: Path of the renderings up to ``_r_<azimuth>.png`` and ``_r_<azimuth>_depth0001.png``.

    Added keys:
        text: str.
        images: uint8 array (1, H, W, 3), RGB.

    Args:
        image_size: H and W in pixels.
        min_scale: Smallest share of the area; 1 keeps the whole image.

    Raises:
        FileNotFoundError: The rendering is missing.
        ValueError: It is damaged; the message names it.
    """

    def __init__(self, image_size: int = 224, min_scale: float = .5) -> None:
        if image_size < 1 or not 0 < min_scale <= 1:
            raise ValueError(f'image_size must be >= 1 and min_scale in (0, 1], got {image_size} and {min_scale}')
        self.image_size, self.min_scale = image_size, min_scale

    def transform(self, results: dict) -> dict:
        """Add ``text`` and ``images``."""
        if 'rendering_prefix' not in results:
            raise ValueError("the dataset does not say where its renderings are: set its data_prefix, e.g. "
                             "dict(pts='shapenet_pc', img='rendered_images')")
        results['text'] = str(np.random.choice(results['synonyms']))
        name = f'{results["rendering_prefix"]}_r_{np.random.choice(AZIMUTHS):03d}{np.random.choice(KINDS)}.png'
        results['images'] = self._cropped(read_aligned_images([name])[0])[None]
        return results

    def _cropped(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        area = height * width * np.random.uniform(self.min_scale, 1)
        ratio = np.exp(np.random.uniform(np.log(3 / 4), np.log(4 / 3))) if self.min_scale < 1 else width / height
        box_width, box_height = min(width, round((area * ratio)**.5)), min(height, round((area / ratio)**.5))
        left, top = np.random.randint(width - box_width + 1), np.random.randint(height - box_height + 1)
        size = self.image_size, self.image_size
        return np.asarray(Image.fromarray(image).resize(
            size, Image.Resampling.BILINEAR, (left, top, left + box_width, top + box_height)))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(image_size={self.image_size}, min_scale={self.min_scale})'
