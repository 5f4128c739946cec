"""Depth-aligned images that were made before."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from PIL import Image

from ..source_files import required


@TRANSFORMS.register_module()
class LoadDepthAlignedImages(BaseTransform):
    """Read the depth-aligned images of an object, one for each of its depth views.

    Required keys:
        image_paths: V image files, in the order of the views.

    Added keys:
        images: uint8 array (V, H, W, 3), RGB.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is no image or cut off, or their sizes differ; the message names it.
    """

    def transform(self, results: dict) -> dict:
        """Add ``images`` to ``results``."""
        images = [_read_image(path) for path in results['image_paths']]
        for path, image in zip(results['image_paths'], images):
            if image.shape != images[0].shape:
                raise ValueError(f'{path} has {image.shape[1]} x {image.shape[0]} pixels, the first view of the object '
                                 f'{images[0].shape[1]} x {images[0].shape[0]}')
        results['images'] = np.stack(images)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _read_image(path: str) -> np.ndarray:
    required(path, 'A depth-aligned image of the data set is missing.')
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))
    except (OSError, ValueError, SyntaxError) as error:
        problem = str(error)
    raise ValueError(f'{path} cannot be read: {problem}. It may be cut off; fetch it again.')
