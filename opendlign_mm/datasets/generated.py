"""Training on generated data of any size: a stream of shards instead of a list of files."""
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

from .store import PackedShape, ShapeStore
from .store.image_features import ImageFeatures
from .stream_order import (
    Entry,
    StreamPart,
    batches_given,
    buffer_order,
    num_batches,
    share_of_process,
    share_of_worker,
    shuffled_entries,
)


@DATASETS.register_module()
class DepthAlignDataset(IterableDataset):
    """Depth views and depth-aligned images of a store, in either layout, streamed shard by shard.

    Each process and each data worker reads its own shards from beginning to end. The order is a function of the seed,
    the epoch, the numbers of processes and workers and the batch size; random transforms follow the seed, the epoch and
    the object. So :meth:`go_on_at` resumes an epoch exactly where it was left; ``StreamingTrainLoop`` does it in
    mmengine's Runner. Give ``sampler=None`` in the data loader's config.

    A pipeline gets ``sample_id``, ``category``, ``text``, ``depth_views`` float32 (V, H, W) in [0, 1] and ``images``
    uint8 (V, H, W, 3), or ``image_features`` float32 (V, D) instead.

    Args:
        data_root: Folder of a store (tools/generate_images.py).
        pipeline: Transforms, e.g. SampleViews and PackShapeInputs.
        shuffle: Shuffle the shards, and their objects through a buffer.
        buffer_size: Objects in the buffer of each data worker.
        only_kept: Leave out objects that the filter did not keep. Without a filter all are kept.
        image_features: Folder of tools/encode_images.py: features of the images by the frozen branch, given instead of
            the images, which then need not be decoded or encoded again.
        seed: Of the order; None takes the Runner's.
        metainfo: Kept as the dataset's information.

    Raises:
        FileNotFoundError: There is no store, or shards are not done.
        ValueError: No object is to be used, or a shard is damaged; the message names it.
    """

    def __init__(self, data_root: str | Path, pipeline: Sequence = (), shuffle: bool = True,
                 buffer_size: int = 1000, only_kept: bool = True, image_features: str | None = None,
                 seed: int | None = None, metainfo: dict | None = None) -> None:
        if buffer_size < 1:
            raise ValueError(f'buffer_size must be >= 1, got {buffer_size}')
        self.store = ShapeStore(data_root)
        self.shuffle, self.buffer_size, self.seed = shuffle, buffer_size, seed
        self.metainfo = dict(metainfo or {})
        self.pipeline = Compose(list(pipeline))
        self.entries, self._stored = self._usable(only_kept)
        self.features = None if image_features is None else ImageFeatures(image_features)
        if self.features is not None:
            self.metainfo['image_features_clip'] = self.features.identity
        self.batch_size, self.drop_last = 1, False
        self.epoch, self.batches_done = 0, 0

    def _usable(self, only_kept: bool) -> tuple[list[list[int]], list[int]]:
        entries, stored, left_out = [], [], 0
        for shard in range(self.store.num_shards):
            rows = [row for row in self.store.rows(shard) if not row['problem']]
            positions = [position for position, row in enumerate(rows) if not only_kept or row['kept'] is not False]
            left_out += len(rows) - len(positions)
            entries.append(positions)
            stored.append(len(rows))
        if not any(entries):
            raise ValueError(f'{self.store.root} has no object to train on; {left_out} were left out by the filter '
                             '(only_kept=False takes them)')
        if left_out:
            print_log(f'{left_out} of {sum(stored)} objects of {self.store.root} are left out by the filter', 'current')
        return entries, stored

    def set_batches(self, batch_size: int, drop_last: bool) -> None:
        """Say how the loader makes batches, so that each data worker gets whole ones."""
        self.batch_size, self.drop_last = batch_size, drop_last

    def go_on_at(self, epoch: int, batches_done: int = 0) -> None:
        """Let the next iteration be that of an epoch, without the batches of each process that are done."""
        self.epoch, self.batches_done = epoch, batches_done

    @property
    def _all(self) -> list[Entry]:
        if self.shuffle:
            return shuffled_entries(self.entries, (self.seed or 0, self.epoch))
        return [(shard, position) for shard, positions in enumerate(self.entries) for position in positions]

    def __len__(self) -> int:
        """Objects that this process sees in an epoch."""
        length = -(-sum(map(len, self.entries)) // get_world_size())
        return num_batches(length, self.batch_size, True) * self.batch_size if self.drop_last else length

    def part(self, worker: int, num_workers: int) -> StreamPart:
        """What a data worker of this process streams in the whole epoch."""
        own = share_of_process(self._all, get_rank(), get_world_size())
        reading = share_of_worker(own, worker, num_workers, self.batch_size, self.drop_last)
        giving = reading
        if self.shuffle:
            seed = (self.seed or 0, self.epoch, get_rank(), worker)
            giving = buffer_order(reading, self.buffer_size, seed)
        return StreamPart(reading, giving)

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        # A loader always asks its first worker first: it takes the part of the one whose turn it would be.
        worker = (worker + self.batches_done) % num_workers
        reading, giving = self.part(worker, num_workers)
        done = batches_given(self.batches_done, worker, num_workers) * self.batch_size
        for entry, shape in self._in_order(reading, giving, done):
            yield self._prepared(shape, entry)

    def _in_order(self, reading: Sequence[Entry], giving: Sequence[Entry],
                  done: int) -> Iterator[tuple[Entry, PackedShape]]:
        """Stream what is still to be given; objects wait, encoded, until their turn comes."""
        # By place in the order of reading: an entry that fills up the last process may occur twice.
        places: dict[Entry, list[int]] = {}
        for place, entry in enumerate(reading):
            places.setdefault(entry, []).append(place)
        taken: dict[Entry, int] = {}
        turns = []
        for entry in giving:
            turns.append((entry, taken.get(entry, 0)))
            taken[entry] = taken.get(entry, 0) + 1
        turns = turns[done:]
        wanted, waiting, current = set(turns), {}, 0
        seen: dict[Entry, int] = {}
        for shard, positions in _runs(reading):
            numbered = {}
            for position in positions:
                entry = (shard, position)
                numbered[position] = (entry, seen.get(entry, 0))
                seen[entry] = seen.get(entry, 0) + 1
            if not any(turn in wanted for turn in numbered.values()):
                continue
            for position, shape in self._shapes_of(shard, max(numbered)):
                if position in numbered and numbered[position] in wanted:
                    waiting[numbered[position]] = shape
                while current < len(turns) and turns[current] in waiting:
                    turn = turns[current]
                    current += 1
                    yield turn[0], waiting.pop(turn)

    def _shapes_of(self, shard: int, last: int) -> Iterator[tuple[int, PackedShape]]:
        count = 0
        for position, shape in enumerate(self.store.read(shard)):
            yield position, shape
            count += 1
            if position == last:
                return
        raise ValueError(f'{self.store.shard_path(shard)} ends after {count} of {self._stored[shard]} objects; it is '
                         'cut off. Run tools/generate_images.py again.')

    def _prepared(self, shape: PackedShape, entry: Entry) -> dict:
        results = {key: shape.metadata[key] for key in ('sample_id', 'category', 'text', 'gt_label')
                   if key in shape.metadata}
        results['depth_views'] = shape.depth_views().astype(np.float32) / 255
        if self.features is None:
            results['images'] = shape.images()
        else:
            results['image_features'] = self.features.of(entry[0], shape.sample_id)
        with _own_randomness(self.seed or 0, self.epoch, *entry):
            return self.pipeline(results)


def _runs(reading: Sequence[Entry]) -> Iterator[tuple[int, list[int]]]:
    """Consecutive entries of one shard, each position once: (shard, positions)."""
    shard, positions = None, []
    for entry in reading:
        if entry[0] != shard or positions and entry[1] <= positions[-1]:
            if positions:
                yield shard, positions
            shard, positions = entry[0], []
        positions.append(entry[1])
    if positions:
        yield shard, positions


@contextmanager
def _own_randomness(*numbers: int) -> Iterator[None]:
    """Random transforms draw the same for an object in an epoch, whatever was drawn before; the rest of the process
    goes on as if they had drawn nothing."""
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
