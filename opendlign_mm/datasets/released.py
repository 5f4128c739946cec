"""Data as the authors of OpenDlign released it: depth maps to test on, and pairs with images to train on."""
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.logging import print_log
from PIL import Image

from ..point_files.array_files import load_npy
from ..source_files import is_error_of_machine, read_json, required_file
from .image_features import REMEDY, ImageFeatures
from .keep_list import read_keep_list
from .shape_dataset import ShapeDataset, spoken

PUBLISHED_BENCHMARKS = ('ModelNet40', 'ScanObjectNN', 'OmniObject3D')
DEPTH_SUFFIX = '_dm.npy'
# 4096 x 4096: a small file may announce an image that fills the memory.
MAX_PIXELS = 2**24
RELEASED_DATA = "the authors' released dataset (OpenDlign/OpenDlign-Datasets on Hugging Face)"


@DATASETS.register_module()
class ReleasedDepthMaps(ShapeDataset):
    """``<data_root>/<dataset>/depth_map/<id>+<category>_dm.npy``: ten depth views of an object in each file.

    Put ``LoadDepthViews`` first in the pipeline. The classes are those of the file names, in alphabetical order, or
    those of ``labels_file`` in its order.

    Args:
        data_root: Folder of the released data.
        dataset: Sub-folder of ``data_root``: 'modelnet40', 'scanobjectnn' or 'OmniObject3D'.
        labels_file: JSON file ``{dataset: [class names]}`` in ``data_root``, as in the released code. If it exists, its
            classes are used, also those without an object.
        kwargs: Further arguments of :class:`ShapeDataset`.

    Raises:
        FileNotFoundError: The folder is missing; the message says how to get it.
        ValueError: The folder has no depth map, a file name has no category, or ``labels_file`` lacks one.
    """

    def __init__(self, data_root: str, dataset: str, labels_file: str = 'labels.json', **kwargs) -> None:
        self.dataset, self.labels_file = dataset, labels_file
        super().__init__(data_root=data_root, data_prefix=dict(depth=f'{dataset}/depth_map'), **kwargs)

    @property
    def benchmark(self) -> str:
        """Published name of the benchmark."""
        return {name.lower(): name for name in PUBLISHED_BENCHMARKS}.get(self.dataset.lower(), self.dataset)

    @property
    def remedy(self) -> str:
        """Advice on how to get the data, for messages."""
        return (f'The depth maps of {self.dataset} are part of {RELEASED_DATA}. Unpack them to '
                f'<data_root>/{self.dataset}/depth_map, or say where they are with --cfg-options data_root=DIR.')

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per file."""
        records = []
        for path in sorted(Path(self.data_prefix['depth']).glob(f'*{DEPTH_SUFFIX}')):
            name = path.name[:-len(DEPTH_SUFFIX)]
            identifier, plus, category = name.rpartition('+')
            if not (identifier and category):
                raise ValueError(f'{path} is not named <id>+<category>{DEPTH_SUFFIX}')
            records.append(dict(sample_id=f'{self.dataset}/{name}', category=category, depth_path=str(path)))
        found = sorted({record['category'] for record in records})
        return self._published_names(found) or found, records

    def _published_names(self, found: Sequence[str]) -> list[str] | None:
        """Return the names of the labels file, if there is one and it has this dataset."""
        path = Path(self.data_root) / self.labels_file
        if not self.labels_file or not path.is_file():
            return None
        names = read_json(path, 'Remove it to take the classes of the file names.')
        names = {key.lower(): value for key, value in names.items()}.get(self.dataset.lower())
        absent = sorted({spoken(name) for name in found} - {spoken(name) for name in names or ()})
        if names and absent:
            raise ValueError(f'{path} does not have these classes of {self.dataset}: {", ".join(absent[:8])}')
        return names


@DATASETS.register_module()
class DepthAlignedShapes(ShapeDataset):
    """``<data_root>/<dataset>/depth_map/<id>_dm.npy`` and ``<data_root>/<dataset>/depth_align_img/<id>/{0..9}.png``.

    The authors' released training set, one sample per object, read from its files. :class:`DepthAlignDataset` streams
    the stores that tools/generate_images.py writes instead.

    Put ``LoadDepthViews`` and ``LoadDepthAlignedImages`` first in the pipeline. The objects have no class, as alignment
    does not use it, and the release has no captions of them.

    Args:
        data_root: Folder of the released data.
        ann_file: File that lists the objects to train on, in ``<data_root>/<dataset>`` or with its whole path: a text
            file with a line for each, or a JSON list, of ids or paths that end in them; see :mod:`.keep_list`. Empty:
            all.
        dataset: Sub-folder of ``data_root``.
        num_views: Number of images of an object, V.
        image_features: Folder of tools/encode_images.py with features of the images, which replace them: objects get
            ``image_features`` float32 (V, D), and images are neither needed nor read.
        captions: JSON file ``{id: text}`` of captions for alignment with texts, which ``PackShapeInputs(caption='{}')``
            packs; a relative path is inside ``<data_root>/<dataset>``. None: the objects have no text.
        kwargs: Further arguments of :class:`ShapeDataset`.

    Raises:
        FileNotFoundError: A folder is missing, or with ``on_unreadable='error'`` objects lack one of both; the message
            says how to get it.
        ValueError: No object has both a depth map and images, or objects have no caption in ``captions``.
    """

    remedy = (f"ShapeNet's depth maps and depth-aligned images are part of {RELEASED_DATA}. Unpack them to "
              '<data_root>/shapenet/depth_map and <data_root>/shapenet/depth_align_img, or say where they are with '
              '--cfg-options data_root=DIR. configs/opendlign_h14_built_in.py trains without any download.')

    def __init__(self, data_root: str, ann_file: str = '', dataset: str = 'shapenet', num_views: int = 10,
                 image_features: str | None = None, captions: str | None = None, **kwargs) -> None:
        self.dataset, self.num_views, self.captions = dataset, num_views, captions
        self.features = None if image_features is None else ImageFeatures(image_features)
        folders = dict(depth=f'{dataset}/depth_map')
        if self.features is None:
            folders['img'] = f'{dataset}/depth_align_img'
        super().__init__(data_root=data_root, ann_file=os.path.join(dataset, ann_file) if ann_file else '',
                         data_prefix=folders, **kwargs)
        if self.features is not None:
            self._metainfo['image_features_clip'] = self.features.identity

    def get_data_info(self, idx: int) -> dict:
        """Return the record of an object, with its ``image_features`` where they are used."""
        record = super().get_data_info(idx)
        if self.features is not None:
            features, encoded = self.features.of(record['sample_id'])
            sizes = [os.path.getsize(path) for path in record['image_paths'] if os.path.isfile(path)]
            if sizes and encoded and sizes != json.loads(encoded).get(record['sample_id'], sizes):
                raise ValueError(f'{self.features.root} has features of other images of {record["sample_id"]} than '
                                 f'{os.path.dirname(record["image_paths"][0])}. {REMEDY}')
            record['image_features'] = features
        return record

    def read_records(self) -> tuple[None, list[dict]]:
        """Return one record per object."""
        depth = self.data_prefix['depth']
        # Half a million paths: strings, since objects for them would take seconds.
        with_depth = {name[:-len(DEPTH_SUFFIX)] for name in os.listdir(depth) if name.endswith(DEPTH_SUFFIX)}
        if self.features is None:
            images = self.data_prefix['img']
            with_images = {entry.name for entry in os.scandir(images) if entry.is_dir()}
        else:
            images = str(self.features.root)
            with_images = {name.partition('/')[2] for name in self.features.names()}
        wanted = with_depth | with_images
        if self.ann_file:
            wanted = {PurePosixPath(line).name for line in read_keep_list(self.ann_file, self.remedy)}
        complete = sorted(wanted & with_depth & with_images)
        if not complete:
            raise ValueError(f'{depth} has {len(with_depth)} depth maps and {images} the images of {len(with_images)} '
                             f'objects, but none of the {len(wanted)} objects to train on has both. {self.remedy}')
        if len(complete) < len(wanted):
            missing = sorted(wanted - set(complete))
            problem = (f'{len(missing)} of {len(wanted)} objects lack a depth map or images: {", ".join(missing[:3])}'
                       f'{", ..." * (len(missing) > 3)}')
            if self.on_unreadable == 'error':
                raise FileNotFoundError(f"{problem}. {self.remedy} on_unreadable='skip' takes the others.")
            print_log(f'skipping unreadable samples: {problem}', 'current', logging.WARNING)
            if self.test_mode:  # which counts them
                complete = sorted(wanted)
        image_root = os.path.join(self.data_root, self.dataset, 'depth_align_img')
        texts = self._texts(complete)
        return None, [dict(sample_id=f'{self.dataset}/{name}', depth_path=os.path.join(depth, f'{name}{DEPTH_SUFFIX}'),
                           image_paths=[os.path.join(image_root, name, f'{view}.png')
                                        for view in range(self.num_views)],
                           **texts.get(name, {})) for name in complete]

    def _texts(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return id -> ``text`` of the objects from the file of captions; nothing without one."""
        if self.captions is None:
            return {}
        path = Path(self.data_root) / self.dataset / self.captions
        texts = read_json(path, 'It must be {id: text}; without it set captions=None.')
        absent = [name for name in names if not isinstance(texts, dict) or not str(texts.get(name) or '').strip()]
        if absent:
            raise ValueError(f'{path} has no text for {len(absent)} of {len(names)} objects to train on: '
                             f'{", ".join(absent[:3])}{", ..." * (len(absent) > 3)}. It must be {{id: text}}.')
        return {name: dict(text=str(texts[name]).strip()) for name in names}


def read_depth_views(path: str | Path) -> np.ndarray:
    """Read the depth views of one object, as the authors of OpenDlign released them.

    Args:
        path: An .npy file: array (V, H, W, 3) or (V, H, W), uint8, or float in [0, 1] or [0, 255]; background white,
            near is dark.

    Returns:
        float32 (V, H, W) in [0, 1]; (V, 3, H, W) where the three channels differ.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, for example because it is truncated, or its array has another shape, dtype
            or range; the message names it.
    """
    path = required_file(path, 'A depth map of the dataset is missing.')
    try:
        views = load_npy(path)
    except Exception as error:  # NumPy raises many kinds on a damaged header
        if is_error_of_machine(error):
            raise
        raise ValueError(f'{path} cannot be read: {error}. It may be truncated; fetch it again.') from error
    return _unit_views(views, str(path))


def read_aligned_images(paths: Sequence[str | Path]) -> np.ndarray:
    """Read the depth-aligned images of one object.

    Args:
        paths: V image files, in the order of the views.

    Returns:
        uint8 (V, H, W, 3), RGB.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not an image, is truncated or has a single color, or their sizes differ; the message names
            it.
    """
    images = []
    for path in map(Path, paths):
        required_file(path, 'A depth-aligned image of the dataset is missing.')
        try:
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f'it has {image.width} x {image.height} pixels, and at most {MAX_PIXELS} are read')
                images.append(np.asarray(image.convert('RGB')))
        except Exception as error:  # Pillow raises many kinds on a damaged file
            if is_error_of_machine(error):
                raise
            raise ValueError(f'{path} cannot be read: {error}. It may be truncated; fetch it again.') from error
        if images[-1].shape != images[0].shape:
            height, width = images[-1].shape[:2]
            raise ValueError(f'{path} has {width} x {height} pixels, the first view of the object '
                             f'{images[0].shape[1]} x {images[0].shape[0]}')
        if has_single_color(images[-1]):
            raise ValueError(f'{path} has a single color; it may have been blacked out by a safety checker')
    if not images:
        raise ValueError('an object has no images')
    return np.stack(images)


def has_single_color(image: np.ndarray) -> bool:
    """Return whether all pixels of an image (H, W, 3) are equal: it shows nothing."""
    return bool((image == image[:1, :1]).all())


def _unit_views(views: np.ndarray, name: str) -> np.ndarray:
    if views.ndim not in (3, 4) or views.size == 0 or views.ndim == 4 and views.shape[-1] not in (1, 3):
        raise ValueError(f'{name}: depth views must be (V, H, W, 3) or (V, H, W), got {views.shape}')
    if views.dtype == np.uint8:
        views = views.astype(np.float32) / 255
    elif np.issubdtype(views.dtype, np.floating):
        # A white background tells the ranges apart. Rounding may lead a little out; NaN fails both comparisons.
        white = 255 if views.max() > 254 else 1
        if not (views.min() >= -1e-3 * white and views.max() <= (1 + 1e-3) * white):
            raise ValueError(f'{name}: depth views of floats must lie in [0, 1] or [0, 255], got {views.min()} to '
                             f'{views.max()}')
        views = np.clip(views.astype(np.float32) / white, 0, 1)
    else:
        raise ValueError(f'{name}: depth views must be uint8 or float, got {views.dtype}')
    if views.ndim == 3:
        return views
    gray = np.ascontiguousarray(views[..., 0])
    return gray if (views == views[..., :1]).all() else np.ascontiguousarray(views.transpose(0, 3, 1, 2))
