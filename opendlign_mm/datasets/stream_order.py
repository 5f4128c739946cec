"""The order in which a stream gives its objects: shuffled shards, then a shuffle buffer, computed without reading."""
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

# (shard, position in the shard)
Entry = tuple[int, int]


class StreamPart(NamedTuple):
    """The part of an epoch that one data worker streams.

    Attributes:
        reading: Entries in the order in which they are read.
        giving: The same entries in the order in which they leave the shuffle buffer.
    """
    reading: list[Entry]
    giving: list[Entry]


def shuffled_entries(entries: Sequence[Sequence[int]], seed: tuple[int, ...]) -> list[Entry]:
    """Return all entries of an epoch, whole shards in random order.

    Args:
        entries: Positions to use, for each shard.
        seed: Numbers that determine the order, e.g. (run seed, epoch).
    """
    order = np.random.default_rng(seed).permutation(len(entries))
    return [(int(shard), int(position)) for shard in order for position in entries[shard]]


def buffer_order(reading: Sequence[Entry], buffer_size: int, seed: tuple[int, ...]) -> list[Entry]:
    """Return the order in which entries leave a shuffle buffer.

    At each step a random entry leaves the full buffer and the next entry takes its place, so an entry leaves at most
    ``buffer_size`` - 1 entries early.
    """
    rng = np.random.default_rng(seed)
    buffer, order = [], []
    for entry in reading:
        buffer.append(entry)
        if len(buffer) >= buffer_size:
            order.append(_take(buffer, rng))
    while buffer:
        order.append(_take(buffer, rng))
    return order


def _take(buffer: list, rng: np.random.Generator) -> Entry:
    chosen = int(rng.integers(len(buffer)))
    buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
    return buffer.pop()


def share_of_process(entries: Sequence[Entry], rank: int, world_size: int) -> list[Entry]:
    """Return the consecutive entries of one process.

    All processes get equally many, so that none waits for the others in vain: entries are repeated from the beginning
    to fill the shares of the last processes.
    """
    length = -(-len(entries) // world_size)
    padded = [entries[place % len(entries)] for place in range(length * world_size)]
    return padded[rank * length:(rank + 1) * length]


def num_batches(length: int, batch_size: int, drop_last: bool) -> int:
    """Return the number of batches that ``length`` entries make."""
    return length // batch_size if drop_last else -(-length // batch_size)


def share_of_worker(entries: Sequence[Entry], worker: int, num_workers: int, batch_size: int,
                    drop_last: bool) -> list[Entry]:
    """Return the consecutive entries of one data worker of a process: those of its batches.

    PyTorch takes batch b from worker b modulo ``num_workers``. Each worker gets whole batches; an incomplete batch goes
    to the worker of the last batch.
    """
    batches = num_batches(len(entries), batch_size, drop_last)
    counts = [len(range(index, batches, num_workers)) for index in range(num_workers)]
    last = (batches - 1) % num_workers if batches else 0
    short = batches * batch_size - len(entries) if not drop_last else 0
    lengths = [count * batch_size - (short if index == last else 0) for index, count in enumerate(counts)]
    begin = sum(lengths[:worker])
    return list(entries[begin:begin + lengths[worker]])


def batches_given(skip: int, worker: int, num_workers: int) -> int:
    """Return how many of the first ``skip`` batches of a loader came from one worker."""
    return len(range(worker, skip, num_workers))


def numbered(entries: Sequence[Entry]) -> list[tuple[Entry, int]]:
    """Number the occurrences of each entry: those that pad the share of the last process may occur twice."""
    counts: dict[Entry, int] = {}
    numbered = []
    for entry in entries:
        numbered.append((entry, counts.get(entry, 0)))
        counts[entry] = counts.get(entry, 0) + 1
    return numbered


def runs(reading: Sequence[Entry]) -> Iterator[tuple[int, list[int]]]:
    """Group consecutive entries of one shard, each position once: (shard, positions)."""
    shard, positions = None, []
    for entry in reading:
        if entry[0] != shard or positions and entry[1] <= positions[-1]:
            if positions:
                yield shard, positions
            shard, positions = entry[0], []
        positions.append(entry[1])
    if positions:
        yield shard, positions
