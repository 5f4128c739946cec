"""Time of two computations in turn, and the rows and lines that a benchmark consists of."""
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

MIN_PAIRS = 5


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        device: Device of the computations.
        pairs: Number of pairs, ours and the other computation in turn; at least 5, whose medians count.
        quick: Take the smallest sizes and a single pair: whether everything runs, not how fast.
        against: Folder of the authors' released code, whose ``model.py`` then calls the image tower; None: our own
            words of it.
        shapes: Number of shapes of the index that is searched; from 500,000 on it is compressed.
        clusters: Number of clusters of its vectors; 0: without structure, which no index can shorten.

    Raises:
        ValueError: There are fewer than 5 pairs or 10 shapes, or no such device.
        FileNotFoundError: There is no such folder.
    """
    device: torch.device = field(default_factory=lambda: torch.device('cpu'))
    pairs: int = MIN_PAIRS
    quick: bool = False
    against: Path | None = None
    shapes: int = 100_000
    clusters: int = 0

    def __post_init__(self) -> None:
        if self.pairs < MIN_PAIRS:
            raise ValueError(f'pairs must be at least {MIN_PAIRS}, whose medians count, got {self.pairs}')
        if self.shapes < 10 or self.clusters < 0:
            raise ValueError(f'shapes must be at least 10 and clusters at least 0, got {self.shapes}, {self.clusters}')
        if self.device.type == 'cuda' and not torch.cuda.is_available():
            raise ValueError(f'there is no device {self.device}: PyTorch finds no CUDA here')
        if self.against is not None and not self.against.is_dir():
            raise FileNotFoundError(f'{self.against}, given by --against, is not a folder')

    @property
    def repeats(self) -> int:
        """Number of measurements of a computation."""
        return 1 if self.quick else self.pairs

    def pick(self, full: Any, quick: Any) -> Any:
        """Return the size for this run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Row:
    """One measurement.

    Args:
        suite: Suite it belongs to.
        what: What was computed.
        seconds: Median of ours, for ``unit``.
        unit: What the seconds are for, e.g. an object.
        dtype: Dtype that ours computes in.
        other: What ours is compared with; '' for nothing.
        other_seconds: Median of the other computation, for ``unit``.
        ratio: Median over the pairs of other / ours; above 1 ours is faster.
        limit_seconds: Least time of the device for ``unit``, from operations or bytes and its measured rates.
        facts: Further measurements, such as differences of the results.
    """
    suite: str
    what: str
    seconds: float
    unit: str
    dtype: str = 'float32'
    other: str = ''
    other_seconds: float | None = None
    ratio: float | None = None
    limit_seconds: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def share_of_limit(self) -> float | None:
        """Least time of the device over the measured time, in [0, 1] but for the noise of both."""
        return None if self.limit_seconds is None else self.limit_seconds / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return dict(asdict(self), share_of_limit=self.share_of_limit)


@dataclass(frozen=True)
class Curve:
    """Seconds over a growing size.

    Args:
        suite: Suite it belongs to.
        what: What was computed.
        size: What grows.
        sizes: Its values, ascending.
        seconds: Median time of each.
    """
    suite: str
    what: str
    size: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]


def named_device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        ValueError: There is no such device in PyTorch.
    """
    try:
        return torch.device(name)
    except RuntimeError:
        raise ValueError(f'{name!r} is not a device; use cpu, cuda or cuda:N') from None


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of one call, all of its work on the device included."""
    _synchronize(device)
    begin = time.perf_counter()
    call()
    _synchronize(device)
    return time.perf_counter() - begin


def median_seconds(call: Callable[[], Any], settings: Settings) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    call()
    return median(seconds_of(call, settings.device) for _ in range(settings.repeats))


def compare(ours: Callable[[], Any], other: Callable[[], Any], settings: Settings) -> tuple[float, float, float]:
    """Measure two computations in turn: A B A B, so that another load of the machine meets both.

    Each is called once before, which compiles and fills caches.

    Returns:
        Median seconds of ours and of the other, and the median over the pairs of other / ours.
    """
    ours()
    other()
    pairs = [(seconds_of(ours, settings.device), seconds_of(other, settings.device)) for _ in range(settings.repeats)]
    return (*(median(column) for column in zip(*pairs, strict=True)), median_ratio(pairs))


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median of second / first over pairs measured one right after the other."""
    return median(second / first for first, second in pairs)


def grow(suite: str, what: str, size: str, sizes: Sequence[int], prepare: Callable[[int], Callable[[], Any]],
         settings: Settings) -> Curve:
    """Measure a computation at growing sizes.

    Args:
        suite: Suite of the curve.
        what: What is computed.
        size: What grows.
        sizes: Its values, ascending.
        prepare: Returns the computation of a size.
        settings: How to measure.
    """
    seconds = tuple(median_seconds(prepare(value), settings) for value in sizes)
    return Curve(suite, what, size, tuple(sizes), seconds)


def _synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
