"""The feature stage: encode images with a model's pretrained branch, once for all epochs."""
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ..datasets.image_features import ImageFeatures
from ..datasets.released import read_aligned_images
from ..datasets.store import ShapeStore
from ..file_keys import readable_text
from ..models import OpenDlign, TriModalAligner
from ..processes import of_all_processes, on_first_process, only_run, own_share, progress, say
from ..source_files import is_error_of_machine, required

# Images that are encoded at a time, of one or several objects.
BATCH_SIZE = 256


class StoredImages:
    """Images of a store, with its shards.

    Args:
        store: A finished store of images.
    """

    def __init__(self, store: ShapeStore) -> None:
        self.store, self.num_shards = store, store.num_shards

    def describe(self, shard: int) -> tuple[list[str], str | None]:
        """Return the names of a shard's objects, and the hash of their images where the store has one."""
        return self.store.stored_ids(shard), self.store.manifest(shard).facts.get('images')

    def read(self, shard: int, problems: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
        """Stream the readable objects of a shard: name, images uint8 (V, H, W, 3). Add the others to ``problems``.

        Raises:
            ValueError: The shard is damaged.
        """
        with ThreadPoolExecutor() as pool:
            pending = {shape.sample_id: pool.submit(shape.images) for shape in self.store.read(shard)}
            if [*pending] != self.store.stored_ids(shard):
                raise ValueError(f'{self.store.shard_path(shard)} is damaged or truncated; run '
                                 'tools/generate_images.py again')
            yield from _readable(pending, problems)


class ReleasedImages:
    """Folders of PNG images in the layout of the authors' release, in shards of their alphabetical order.

    Args:
        folder: Folder of the dataset, e.g. shapenet, with the sub-folder ``depth_align_img``. Names of objects are
            '<name of the folder>/<name of the object>', as :class:`DepthAlignedShapes` has them.
        shapes_per_shard: Number of objects in a shard.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is no object in it.
    """

    def __init__(self, folder: str | Path, shapes_per_shard: int = 64) -> None:
        self.folder = required(Path(folder) / 'depth_align_img', 'Give the folder of tools/generate_images.py, or one '
                               'of the released data, which has depth_align_img.').absolute()
        self.objects = sorted(path.name for path in self.folder.iterdir() if path.is_dir() and path.name[0] != '.')
        if not self.objects:
            raise ValueError(f'{self.folder} has no sub-folders of images')
        self.shapes_per_shard, self.num_shards = shapes_per_shard, -(-len(self.objects) // shapes_per_shard)

    def describe(self, shard: int) -> tuple[list[str], str | None]:
        """Return the names of a shard's objects, and the sizes of their image files as a string."""
        sizes = {name: [path.lstat().st_size for path in paths] for name, paths in self._files(shard).items()}
        return list(sizes), json.dumps(sizes)

    def read(self, shard: int, problems: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
        """Stream the readable objects of a shard: name, images uint8 (V, H, W, 3). Add the others to ``problems``."""
        with ThreadPoolExecutor() as pool:
            pending = {name: pool.submit(_images_of, name, paths) for name, paths in self._files(shard).items()}
            yield from _readable(pending, problems)

    def _files(self, shard: int) -> dict[str, list[Path]]:
        """Return the image files of each object of a shard in the order of its views."""
        chosen = self.objects[shard * self.shapes_per_shard:(shard + 1) * self.shapes_per_shard]
        return {f'{self.folder.parent.name}/{name}': sorted((self.folder / name).glob('*.png'), key=lambda path: (
            len(path.name), path.name)) for name in chosen}


def _images_of(name: str, paths: Sequence[Path]) -> np.ndarray:
    if name != readable_text(name):
        raise ValueError(f'the name {readable_text(name)} is not UTF-8; rename the folder')
    return read_aligned_images(paths)


def _readable(pending: dict[str, Future[np.ndarray]], problems: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    for name, images in pending.items():
        try:
            yield name, images.result()
        except (OSError, ValueError) as error:
            if is_error_of_machine(error):
                raise
            problems[readable_text(name)] = str(error)


ImageSource = StoredImages | ReleasedImages


def open_image_source(path: str | Path) -> ImageSource:
    """Open the images at ``path``: a store, or a folder of the released layout.

    Raises:
        FileNotFoundError: There is neither.
        ValueError: There are no images.
    """
    return StoredImages(ShapeStore(path)) if (Path(path) / 'store.json').is_file() else ReleasedImages(path)


def encode_images(model: OpenDlign | TriModalAligner, source: ImageSource, out_dir: str | Path) -> dict[str, str]:
    """Run this process's part of the feature stage: write a file of features for each shard that has none yet.

    A shard whose images have changed is encoded again.

    Args:
        model: The model, in evaluation mode.
        source: Images.
        out_dir: Folder of the features.

    Returns:
        sample_id -> why the object has no features, of all processes; each process waits for the last one.

    Raises:
        FileNotFoundError: Shards are missing.
        ValueError: Shards of a store are damaged, or ``out_dir`` has the features of another model.
    """
    out_dir, problems = Path(out_dir), {}
    identity = model.clip_backbone.pretrained_branch_identity()
    with only_run(out_dir):
        features = on_first_process(lambda: ImageFeatures.create(out_dir, identity))
        shards = on_first_process(lambda: [shard for shard in range(source.num_shards)
                                           if not _is_done(features, shard, *source.describe(shard))])
        say(f'{len(shards)} of {source.num_shards} shards are to be encoded')
        for shard in progress(own_share(shards), desc='features', unit='shard'):
            _, images = source.describe(shard)
            features.write(shard, dict(_encoded(model, source.read(shard, problems))), images or '')
    return {name: problem for own in of_all_processes(problems) for name, problem in own.items()}


def _is_done(features: ImageFeatures, shard: int, names: list[str], images: str | None) -> bool:
    try:
        found, encoded = features.read_header(shard)
    except (FileNotFoundError, ValueError):
        return False
    return images == encoded if images and encoded else found == set(names)


@torch.no_grad()
def _encoded(model: OpenDlign | TriModalAligner, objects: Iterable[tuple[str, np.ndarray]]
             ) -> Iterator[tuple[str, np.ndarray]]:
    """Encode objects in batches: name, images uint8 (V, H, W, 3) -> name, features float32 (V, D)."""
    device = model.clip_backbone.logit_scale.device
    for batch in _batches(objects):
        images = torch.from_numpy(np.concatenate([images for _, images in batch])).to(device)
        features = model.encode_views(images.permute(0, 3, 1, 2)[None].float() / 255, 'pretrained')[0].cpu()
        yield from zip([name for name, _ in batch],
                       (part.numpy() for part in features.split([len(images) for _, images in batch])), strict=True)


def _batches(objects: Iterable[tuple[str, np.ndarray]]) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Group consecutive objects with images of one size to at most ``BATCH_SIZE`` images, or one object."""
    batch: list[tuple[str, np.ndarray]] = []
    for name, images in objects:
        full = sum(len(other) for _, other in batch) + len(images) > BATCH_SIZE
        if batch and (full or batch[0][1].shape[1:] != images.shape[1:]):
            yield batch
            batch = []
        batch.append((name, images))
    if batch:
        yield batch
