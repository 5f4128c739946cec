"""Load one training object of OpenShape: points, colors, and features of a text and of images, drawn at random."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...point_files.array_files import load_npy, points_of_entry
from ...point_files.shape_files import checked_points
from ...source_files import is_error_of_machine

TEXT_SOURCES = ('text', 'caption', 'retrieval_text')
CAPTIONS = ('blip_caption', 'msft_caption')


@TRANSFORMS.register_module()
class LoadOpenShapeObject(BaseTransform):
    """Transform that reads an object of :class:`OpenShapeTriplets` and draws one of its texts and some of its images.

    Texts: the object's own (of Objaverse the first, if the filter has not taken it; of others a random one), a caption
    (of BLIP or Azure, each with probability 1/2) and a retrieved text; one of those that exist, each with the same
    probability. Own texts and captions count as averages over 64 templates, retrieved texts as they are.

    Required keys:
        points_path: An .npy file: dict with ``xyz``, ``rgb``, ``image_feat``, ``thumbnail_feat`` (Objaverse), and
            ``text``, ``blip_caption``, ``msft_caption``, ``retrieval_text`` with their features ``*_feat``.
        source: 'Objaverse' or the name of another dataset.
        own_text: Whether the object's own text may be used.
    Optional keys:
        aligned_features: float array (V, D), features of depth-aligned images in the place of renderings.

    Added keys:
        points: float32 tensor (N, 3), z up.
        colors: uint8 array (N, 3).
        text_features: float32 array (D,), or None for an object without a text.
        image_features: float32 array (``num_images``, D).

    Args:
        num_images: 1: OpenShape; of Objaverse the thumbnail or, with probability 1/2, a rendering. 4: TAMM; of
            Objaverse the thumbnail and three renderings. Others have renderings only.
        text_sources: Kinds of texts: 'text', 'caption', 'retrieval_text'.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read or lacks features; the message names it.
    """

    def __init__(self, num_images: int = 1, text_sources: Sequence[str] = TEXT_SOURCES) -> None:
        unknown = sorted(set(text_sources) - set(TEXT_SOURCES))
        if num_images < 1 or unknown:
            raise ValueError(f'num_images must be >= 1 and text_sources be among {TEXT_SOURCES}, got {num_images} and '
                             f'{list(text_sources)}')
        self.num_images, self.text_sources = num_images, tuple(text_sources)

    def transform(self, results: dict) -> dict:
        """Add points, colors and features to ``results``."""
        path = results['points_path']
        try:
            entry = load_npy(path)
            entry = entry.item() if entry.dtype == object and entry.size == 1 else entry
            if not isinstance(entry, dict):
                raise ValueError('it is not a dict')
            points, colors = points_of_entry(entry)
            text = self._text(entry, results)
            images = self._images(entry, results)
        except FileNotFoundError:
            raise
        except Exception as error:  # NumPy and pickle raise many kinds on a damaged file
            if is_error_of_machine(error):
                raise
            reason = f"it has no '{error.args[0]}'" if isinstance(error, KeyError) else str(error)
            raise ValueError(f'{path} cannot be read as an object of OpenShape: {reason}. It may be '
                             'truncated.') from error
        shape = checked_points(points, colors, str(path))
        points = torch.from_numpy(shape.points)
        # A rotation, as in LoadShapePoints: ArrangePoints mirrors where a model wants it.
        results['points'] = torch.stack((points[:, 0], -points[:, 2], points[:, 1]), dim=1)
        if shape.colors is not None:
            results['colors'] = shape.colors
        results['text_features'], results['image_features'] = text, images
        return results

    def _text(self, entry: dict, results: dict) -> np.ndarray | None:
        candidates = []
        if 'text' in self.text_sources and results['own_text'] and len(entry['text']):
            row = 0 if results['source'] == 'Objaverse' else np.random.randint(len(entry['text']))
            candidates.append(entry['text_feat'][row]['prompt_avg'])
        if 'caption' in self.text_sources:
            kind = CAPTIONS[np.random.randint(2)]
            if len(entry[kind]):
                candidates.append(entry[f'{kind}_feat']['prompt_avg'])
        if 'retrieval_text' in self.text_sources and len(entry['retrieval_text']):
            row = np.random.randint(len(entry['retrieval_text']))
            candidates.append(entry['retrieval_text_feat'][row]['original'])
        if not candidates:
            return None
        return _feature(candidates[np.random.randint(len(candidates))], 'text')

    def _images(self, entry: dict, results: dict) -> np.ndarray:
        aligned = results.get('aligned_features')
        renderings = entry['image_feat'] if aligned is None else aligned
        length = np.asarray(entry['image_feat']).shape[-1]
        if np.asarray(renderings).shape[-1] != length:
            raise ValueError(f'the features of its depth-aligned images have {np.asarray(renderings).shape[-1]} '
                             f'entries, those of its renderings {length}; encode them with the same CLIP')
        chosen = [entry['thumbnail_feat']] if results['source'] == 'Objaverse' and (
            self.num_images > 1 or np.random.random() < .5) else []
        number = self.num_images - len(chosen)
        rows = np.random.choice(len(renderings), number, replace=len(renderings) < number)
        return np.stack([_feature(value, 'image') for value in (*chosen, *(renderings[row] for row in rows))])

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_images={self.num_images}, text_sources={self.text_sources})'


def _feature(value: Any, kind: str) -> np.ndarray:
    feature = np.asarray(value, dtype=np.float32).reshape(-1)
    if not np.isfinite(feature).all():
        raise ValueError(f'its {kind} features are not finite')
    return feature
