"""Single frames of ScanNet and SUN RGB-D with boxes, in the files that CoDA published."""
from pathlib import Path

import numpy as np

from ..source_files import is_error_of_machine
from .detection_protocols import FrameProtocol

BOXES_SUFFIX = '_bbox.npy'
# Lies in a folder while tools/make_ov3det_frames.py writes its frames.
UNFINISHED = 'unfinished'


def frame_names(folder: str | Path, protocol: FrameProtocol) -> list[str]:
    """Return the names of the frames of a folder, in order.

    Raises:
        FileNotFoundError: There is no folder, or it lacks files of points or boxes; the message names one.
        ValueError: Not all of its frames have been written.
    """
    if (Path(folder) / UNFINISHED).exists():
        raise ValueError(f'{folder} lacks frames, as tools/make_ov3det_frames.py was interrupted or still runs: run it '
                         'again, which makes only what is missing')
    names = sorted(path.name.removesuffix(protocol.points_suffix)
                   for path in Path(folder).glob(f'*{protocol.points_suffix}'))
    without = [name for name in names if not (Path(folder) / f'{name}{BOXES_SUFFIX}').is_file()]
    if not names or without:
        missing = f'{without[0]}{BOXES_SUFFIX}' if without else f'file *{protocol.points_suffix}'
        raise FileNotFoundError(f'{folder} has no {missing}; give a folder of frames of CoDA, which has '
                                f'FRAME{protocol.points_suffix} and FRAME{BOXES_SUFFIX}')
    return names


def read_frame(folder: str | Path, name: str, protocol: FrameProtocol) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read one frame.

    Args:
        folder: Folder of the frames.
        name: Name of the frame.
        protocol: Its classes and conventions.

    Returns:
        Points float32 (N, 6): x, y, z in meters, z up, and r, g, b in [0, 255]; boxes float64 (M, 7): gravity center,
        sizes, and yaw in radians from +x towards +y; labels int64 (M,), in the order of ``protocol.classes``. Boxes of
        other classes are left out.

    Raises:
        ValueError: A file cannot be read or has another shape; the message names it.
    """
    points = _read(Path(folder) / f'{name}{protocol.points_suffix}')
    boxes = _read(Path(folder) / f'{name}{BOXES_SUFFIX}')
    if points.ndim != 2 or points.shape[1] < 6 or not len(points) or not np.isfinite(points[:, :6]).all():
        raise ValueError(f'{folder}/{name}{protocol.points_suffix} must have points (N, 6), all finite, got '
                         f'{points.shape}')
    if boxes.size == 0:
        boxes = np.zeros((0, 8))
    if boxes.ndim != 2 or boxes.shape[1] != 8 or not np.isfinite(boxes).all() or (boxes[:, 3:6] < 0).any():
        raise ValueError(f'{folder}/{name}{BOXES_SUFFIX} must have boxes (M, 8), finite and of half sizes >= 0, got '
                         f'{boxes.shape}')
    label_of = {identifier: label for label, identifier in enumerate(protocol.classes.values())}
    known = np.array([int(identifier) in label_of for identifier in boxes[:, 7]], dtype=bool)
    boxes = boxes[known].astype(np.float64)
    labels = np.array([label_of[int(identifier)] for identifier in boxes[:, 7]], dtype=np.int64)
    boxes[:, 3:6] *= 2
    boxes[:, 6] *= -1 if protocol.clockwise else 1
    points = points[:, :6].astype(np.float32)
    points[:, 3:] *= protocol.color_unit
    return points, boxes[:, :7], labels


def _read(path: Path) -> np.ndarray:
    try:
        contents = np.load(path, allow_pickle=False)
        if path.suffix != '.npz':
            return contents
        with contents:
            return contents['pc']
    except Exception as error:  # a truncated file makes NumPy raise many kinds
        if is_error_of_machine(error):
            raise
        raise ValueError(f'{path} cannot be read: {type(error).__name__} {error}. It may be truncated.') from error
