"""The training set of generated images: a stream over the shards of a store, which may have any size."""
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet3d.registry import DATASETS
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from torch.utils.data import IterableDataset, get_worker_info

from ..source_files import is_error_of_machine
from .image_features import REMEDY, ImageFeatures
from .keep_list import listed_positions
from .shape_dataset import ShapeDataset
from .store import PackedShape, ShapeStore
from .stream_order import (
    Entry,
    StreamPart,
    batches_given,
    buffer_order,
    num_batches,
    numbered,
    runs,
    share_of_process,
    share_of_worker,
    shuffled_entries,
)
from .unreadable import READING_ERRORS, OnUnreadable, ReplacedSamples, Unreadable, check_on_unreadable


@DATASETS.register_module()
class DepthAlignDataset(IterableDataset):
    """Depth views and depth-aligned images of a store, in either layout, streamed shard by shard.

    The store is one of tools/generate_images.py; :class:`DepthAlignedShapes` reads the authors' released training set
    instead.

    Each data worker of each process reads its own shards from beginning to end. The order depends on the seed, the
    epoch, the numbers of processes and workers and the batch size alone, and random transforms on the seed, the epoch
    and the object. An epoch can therefore resume at any batch (:meth:`resume_at`); ``StreamingTrainLoop`` does so in
    mmengine's Runner. Set ``sampler=None`` in the config of the data loader.

    The pipeline gets ``sample_id``, ``category``, ``text``, ``depth_views`` float32 (V, H, W) in [0, 1] and ``images``
    uint8 (V, H, W, 3), or ``image_features`` float32 (V, D) instead of the images.

    Args:
        data_root: Folder of a store (tools/generate_images.py).
        pipeline: Transforms, e.g. SampleViews and PackShapeInputs.
        shuffle: Whether to shuffle the shards, and their objects through a buffer.
        buffer_size: Number of objects in the shuffle buffer of each data worker.
        only_kept: Whether to skip the objects that the filter rejected. Without a filter all are used.
        keep_list: File that lists the objects to train on, see :mod:`.keep_list`; others are skipped. Both choices hold
            where both are made.
        image_features: Folder of tools/encode_images.py with the features of the images by the pretrained branch. They
            replace the images, which are then neither decoded nor encoded again.
        seed: Seed of the order; None takes the Runner's.
        on_unreadable: 'error', or 'skip': in the place of an object that cannot be read the next readable one of its
            shard is given, up to one in a hundred; see :mod:`opendlign_mm.datasets.unreadable`.
        metainfo: Meta information of the dataset.

    Raises:
        FileNotFoundError: There is no store, or shards are not done.
        ValueError: No object can be used, or a shard is damaged and is not to be skipped; the message names it.
    """

    def __init__(self, data_root: str | Path, pipeline: Sequence = (), shuffle: bool = True,
                 buffer_size: int = 1000, only_kept: bool = True, image_features: str | None = None,
                 seed: int | None = None, metainfo: dict | None = None,
                 on_unreadable: OnUnreadable = 'error', keep_list: str | Path | None = None) -> None:
        check_on_unreadable(on_unreadable)
        self.on_unreadable, self._replaced = on_unreadable, ReplacedSamples(ShapeDataset.most_unreadable)
        if buffer_size < 1:
            raise ValueError(f'buffer_size must be >= 1, got {buffer_size}')
        self.store = ShapeStore(data_root)
        self.shuffle, self.buffer_size, self.seed = shuffle, buffer_size, seed
        self.metainfo = dict(metainfo or {})
        self.pipeline = Compose(list(pipeline))
        self.entries, self._stored = self._usable(only_kept, keep_list)
        self.features = None if image_features is None else ImageFeatures(image_features)
        if self.features is not None:
            self._check_features()
            self.metainfo['image_features_clip'] = self.features.identity
        self.batch_size, self.drop_last = 1, False
        self.epoch, self.batches_done = 0, 0

    def _usable(self, only_kept: bool, keep_list: str | Path | None) -> tuple[list[list[int]], list[int]]:
        entries, stored, rejected, filters = [], [], 0, {}
        for shard in range(self.store.num_shards):
            manifest = self.store.manifest(shard)
            filters.setdefault(manifest.facts.get('filter'), []).append(shard)
            rows = [row for row in manifest.rows if not row['problem']]
            positions = [position for position, row in enumerate(rows) if not only_kept or row['kept'] is not False]
            rejected += len(rows) - len(positions)
            entries.append(positions)
            stored.append(len(rows))
        if only_kept and len(filters) > 1:
            states = ', '.join(f'{len(shards)} of {self.store.num_shards} shards are '
                               f'{"not filtered" if fact is None else "filtered with " + fact}'
                               for fact, shards in filters.items())
            raise ValueError(f'{self.store.root} is only partly filtered: {states}. Run tools/filter_images.py again, '
                             'or set only_kept=False to use all objects')
        if not any(entries):
            raise ValueError(f'{self.store.root} has no object to train on; the filter rejected {rejected} '
                             '(set only_kept=False to use them)')
        if rejected:
            print_log(f'skipping {rejected} of {sum(stored)} objects of {self.store.root}: rejected by the filter',
                      'current')
        if keep_list is not None:
            ids = [self.store.stored_ids(shard) for shard in range(self.store.num_shards)]
            entries = listed_positions(ids, entries, keep_list, self.store.root, self.on_unreadable)
        return entries, stored

    def _check_features(self) -> None:
        """Check that the features are those of the images in the store."""
        for shard in range(self.store.num_shards):
            names, encoded = self.features.read_header(shard)
            images = self.store.manifest(shard).facts.get('images')
            if None not in (encoded, images) and encoded != images:
                raise ValueError(f'{self.features.path(shard)} has the features of other images than '
                                 f'{self.store.shard_path(shard)}, which was made again since. {REMEDY}')
            missing = [name for name in self.store.stored_ids(shard) if name not in names]
            if missing and self.on_unreadable == 'error':
                raise ValueError(f'{self.features.path(shard)} has no features of {missing[0]}. {REMEDY}')

    def set_batches(self, batch_size: int, drop_last: bool) -> None:
        """Set how the loader makes batches, so that each data worker streams whole ones."""
        self.batch_size, self.drop_last = batch_size, drop_last

    def resume_at(self, epoch: int, batches_done: int = 0) -> None:
        """Start the next iteration in ``epoch``, skipping the first ``batches_done`` batches of each process."""
        self.epoch, self.batches_done = epoch, batches_done

    @property
    def _all(self) -> list[Entry]:
        if self.shuffle:
            return shuffled_entries(self.entries, (self.seed or 0, self.epoch))
        return [(shard, position) for shard, positions in enumerate(self.entries) for position in positions]

    def __len__(self) -> int:
        """Return the number of objects that this process sees in an epoch."""
        length = -(-sum(map(len, self.entries)) // get_world_size())
        return num_batches(length, self.batch_size, True) * self.batch_size if self.drop_last else length

    def part(self, worker: int, num_workers: int) -> StreamPart:
        """Return what a data worker of this process streams in a whole epoch."""
        own = share_of_process(self._all, get_rank(), get_world_size())
        reading = share_of_worker(own, worker, num_workers, self.batch_size, self.drop_last)
        giving = reading
        if self.shuffle:
            seed = (self.seed or 0, self.epoch, get_rank(), worker)
            giving = buffer_order(reading, self.buffer_size, seed)
        return StreamPart(reading, giving)

    def __iter__(self) -> Iterator[dict]:
        """Stream what is left of the epoch for this data worker."""
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        # A loader starts with its first worker, which therefore takes the part of the worker whose turn it is.
        worker = (worker + self.batches_done) % num_workers
        reading, giving = self.part(worker, num_workers)
        done = batches_given(self.batches_done, worker, num_workers) * self.batch_size
        for entry, shape in self._in_order(reading, giving, done):
            yield self._prepared_or_replaced(shape, entry)

    def _in_order(self, reading: Sequence[Entry], giving: Sequence[Entry],
                  done: int) -> Iterator[tuple[Entry, PackedShape | Unreadable]]:
        """Read the entries and yield them in the order of ``giving``, without the first ``done``.

        Objects wait in the buffer with their files still encoded.
        """
        turns, places = numbered(giving)[done:], iter(numbered(reading))
        wanted, waiting, current = set(turns), {}, 0
        for shard, positions in runs(reading):
            turn_of = {position: next(places) for position in positions}
            if wanted.isdisjoint(turn_of.values()):
                continue
            for position, shape in self._shapes_of(shard, max(turn_of)):
                if turn_of.get(position) in wanted:
                    waiting[turn_of[position]] = shape
                while current < len(turns) and turns[current] in waiting:
                    turn = turns[current]
                    current += 1
                    yield turn[0], waiting.pop(turn)

    def _shapes_of(self, shard: int, last: int) -> Iterator[tuple[int, PackedShape | Unreadable]]:
        count, problem = 0, ''
        try:
            features = {} if self.features is None else self.features.read(shard)
            for position, shape in enumerate(self.store.read(shard, images=self.features is None)):
                shape.image_features = features.get(shape.sample_id)
                yield position, shape
                count += 1
                if position == last:
                    return
            problem = (f'{self.store.shard_path(shard)} ends after {count} of {self._stored[shard]} objects; it is '
                       'truncated. Run tools/generate_images.py again.')
        except READING_ERRORS as error:
            if self.on_unreadable == 'error' or is_error_of_machine(error):
                raise
            problem = str(error)
        if self.on_unreadable == 'error':
            raise ValueError(problem)
        # A truncated shard gives nothing behind the cut.
        for position in range(count, last + 1):
            yield position, Unreadable(f'{self.store.shard_path(shard)}, object {position}', problem)

    def _prepared_or_replaced(self, shape: PackedShape | Unreadable, entry: Entry) -> dict:
        """Pass an object through the pipeline, or the next readable one of its shard.

        The replacement depends on the entry alone, so that a resumed epoch gives the same one.
        """
        if self.on_unreadable == 'error':
            return self._prepared(shape, entry)
        total = sum(map(len, self.entries))
        record = shape
        if isinstance(shape, PackedShape):
            try:
                return self._prepared(shape, entry)
            except READING_ERRORS as error:
                if is_error_of_machine(error):
                    raise
                record = Unreadable(shape.sample_id, str(error))
        self._replaced.add(entry, record, total)
        shard, place = entry
        before, usable = None, set(self.entries[shard])
        for position, other in self._shapes_of(shard, max(usable)):
            if position == place or position not in usable or isinstance(other, Unreadable):
                continue
            if position < place and before is not None:
                continue
            try:
                found = self._prepared(other, (shard, position))
            except READING_ERRORS:
                continue
            if position > place:
                return found
            before = found
        if before is None:
            raise ValueError(f'{self.store.shard_path(shard)} has no readable object; one of them: {record}')
        return before

    def _prepared(self, shape: PackedShape, entry: Entry) -> dict:
        results = {key: shape.metadata[key] for key in ('sample_id', 'category', 'text', 'gt_label')
                   if key in shape.metadata}
        results['depth_views'] = shape.depth_views().astype(np.float32) / 255
        if self.features is None:
            results['images'] = shape.images()
        else:
            if shape.image_features is None:
                raise ValueError(f'{self.features.path(entry[0])} has no features of {shape.sample_id}. {REMEDY}')
            results['image_features'] = shape.image_features.astype(np.float32)
        with _own_randomness(self.seed or 0, self.epoch, *entry):
            return self.pipeline(results)


@contextmanager
def _own_randomness(*numbers: int) -> Iterator[None]:
    """Seed the global generators of random transforms within the block, and restore their states after it.

    What is drawn for an object depends on the numbers alone, and the rest of the process is not affected.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
