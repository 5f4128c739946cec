"""Annotated single frames of a scan of ScanNet, by OV-3DET's protocol, in the files that OV-3DET and CoDA read."""
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..atomic_files import atomic_write
from ..point_files.frame_folders import (
    depth_images,
    pose_file,
    read_color,
    read_depth,
    read_image,
    read_intrinsics,
    read_matrix,
)
from ..point_files.rgbd_frames import RGBDFrame
from ..source_files import read_json
from .class_names import OV3DET_NYU40_IDS
from .clustered_boxes import clustered_boxes, confirmed
from .coda_frames import BOXES_SUFFIX
from .detection_protocols import FRAME_PROTOCOLS

LAYOUT = ('a scan of scannet_frames_25k has depth/*.png, color/*.jpg, label/*.png (NYU40 ids), pose/*.txt, '
          'intrinsics_depth.txt and intrinsics_color.txt')
# A frame gives every n-th of its points to the whole scan, so that they are about so many.
POINTS_OF_WHOLE = 10_000
STORED_POINTS = 50_000
_CLASS_IDS = tuple(OV3DET_NYU40_IDS.values())
_POINTS_SUFFIX = FRAME_PROTOCOLS['ov3det_scannet20'].points_suffix


@dataclass(frozen=True)
class LabeledFrame:
    """Points of a frame.

    Attributes:
        name: Name of the frame in its scan.
        points: float64 (N, 3), meters in the world of the poses, z up.
        colors: uint8 (N, 3), RGB.
        labels: Integers (N,), NYU40 ids; 0 is unlabeled.
    """

    name: str
    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray


def annotate_scan(scan: Path, out: Path, seed: int = 0) -> dict[str, int] | str:
    """Write the annotated frames of a scan and a record, ``out/SCAN.json``, by which a repeated run passes over it.

    Args:
        scan: Folder of the scan in ``scannet_frames_25k``.
        out: Folder to write.
        seed: See :func:`write_annotated_frames`. With another seed the scan is made again.

    Returns:
        The numbers of :func:`write_annotated_frames`, or what is wrong with the files of the scan.
    """
    record = out / f'{scan.name}.json'
    with suppress(FileNotFoundError, KeyError, TypeError, ValueError):  # none, or one that is damaged
        done = read_json(record)
        if done['seed'] == seed:
            return {key: done[key] for key in ('frames', 'without_pose', 'written', 'boxes')}
    record.unlink(missing_ok=True)
    try:
        counts = write_annotated_frames(scan, out, seed)
    except ValueError as error:
        return str(error)
    with atomic_write(record) as unfinished:
        unfinished.write_text(json.dumps(dict(counts, seed=seed)))
    return counts


def write_annotated_frames(scan: Path, out: Path, seed: int = 0) -> dict[str, int]:
    """Write the annotated frames of a scan: ``out/SCAN_FRAME_pc.npy`` and ``out/SCAN_FRAME_bbox.npy``.

    The boxes of a frame are those of :func:`clustered_boxes` that the boxes of the whole scan confirm. Frames without
    one are left out, as by OV-3DET, and coordinates are relative to the mean of the points of the frame. Frames of the
    scan from an earlier run are removed first.

    Args:
        scan: Folder of the scan in ``scannet_frames_25k``.
        out: Folder to write.
        seed: Seed of the points, at most 50,000, that are stored of a frame.

    Returns:
        Numbers of ``frames``, of those ``without_pose``, of the ``written`` ones and of their ``boxes``.

    Raises:
        ValueError: The layout is another, a file is missing or damaged, or no frame has a finite pose. The message
            names it.
    """
    for suffix in (_POINTS_SUFFIX, BOXES_SUFFIX):
        for path in out.glob(f'{scan.name}_*{suffix}'):
            path.unlink()
    parts = [(frame.points[::step], frame.labels[::step]) for frame in read_labeled_frames(scan)
             for step in (max(1, len(frame.points) // POINTS_OF_WHOLE), )]
    if not parts:
        raise ValueError(f'{scan} has no frame with a finite pose; {LAYOUT}')
    whole = clustered_boxes(*(np.concatenate(values) for values in zip(*parts, strict=True)), _CLASS_IDS)
    written = num_boxes = 0
    for frame in read_labeled_frames(scan):
        boxes, labels = clustered_boxes(frame.points, frame.labels, _CLASS_IDS)
        kept = confirmed(boxes, labels, *whole)
        if kept.any():
            _write(out, f'{scan.name}_{frame.name}', frame, boxes[kept], labels[kept], seed)
            written, num_boxes = written + 1, num_boxes + int(kept.sum())
    frames = len(depth_images(scan))
    return dict(frames=frames, without_pose=frames - len(parts), written=written, boxes=num_boxes)


def read_labeled_frames(scan: Path) -> Iterator[LabeledFrame]:
    """Read the frames of a scan that have a finite pose, in order. All measured pixels count, also those at edges.

    Raises:
        ValueError: The layout is another, or a file is missing or damaged; the message names it.
    """
    depths = depth_images(scan)
    if not depths:
        raise ValueError(f'{scan} has no depth images; {LAYOUT}')
    cameras = read_intrinsics(scan)
    for path in depths:
        pose_path = pose_file(path, scan)
        pose = None if pose_path is None else read_matrix(pose_path, finite=False)
        if pose is None or not np.isfinite(pose).all():  # as ScanNet writes it where tracking was lost
            continue
        color, label_path = read_color(path, scan), scan / 'label' / f'{path.stem}.png'
        if color is None or not label_path.is_file():
            missing = label_path if color is not None else scan / 'color' / f'{path.stem}.jpg'
            raise ValueError(f'{missing} does not exist; {LAYOUT}')
        labels = read_image(label_path)
        if labels.ndim != 2 or labels.max() > 40:
            raise ValueError(f'{label_path} must be an image of NYU40 ids, 0 to 40, in one channel, got {labels.shape} '
                             f'up to {labels.max()}; {LAYOUT}')
        depth, scale = read_depth(path)
        frame = RGBDFrame(depth, cameras.depth, color, pose, scale, cameras.color, drop_edges=False)
        try:
            cloud, ids = frame.labeled_points(labels)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        yield LabeledFrame(path.stem, cloud.points, cloud.colors, ids)


def _write(out: Path, name: str, frame: LabeledFrame, boxes: np.ndarray, labels: np.ndarray, seed: int) -> None:
    """Write a frame; its boxes, (M, 7), get half sizes and a yaw that grows clockwise."""
    origin = frame.points.mean(axis=0)
    points = np.concatenate([frame.points - origin, frame.colors], axis=1).astype(np.float32)
    if len(points) > STORED_POINTS:
        points = points[np.random.default_rng(seed).choice(len(points), STORED_POINTS, replace=False)]
    rows = np.concatenate([boxes[:, :3] - origin, boxes[:, 3:6] / 2, -boxes[:, 6:], labels[:, None]], axis=1)
    for suffix, array in ((_POINTS_SUFFIX, points), (BOXES_SUFFIX, rows)):
        with atomic_write(out / f'{name}{suffix}') as unfinished:
            np.save(unfinished, array)
