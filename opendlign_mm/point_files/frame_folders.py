"""Folders of depth images with the poses of their camera, fused into one cloud."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .array_files import RawCloud, load_npy
from .rgbd_frames import RGBDFrame

LAYOUT = ('a folder of frames has depth.png or depth/*.png (16 bits, millimeters; or .npy in meters), intrinsics.txt '
          '(fx fy cx cy, or a 3 x 3 or 4 x 4 matrix) or intrinsic/intrinsic_depth.txt, and may have color.jpg or '
          'color/*.jpg and, for several frames, pose/*.txt (4 x 4, camera to world)')
# Names of ScanNet's export, and of its subset scannet_frames_25k.
INTRINSICS_FILES = ('intrinsics.txt', 'intrinsic.txt', 'intrinsic/intrinsic_depth.txt', 'intrinsics_depth.txt')
COLOR_INTRINSICS_FILES = ('intrinsic/intrinsic_color.txt', 'intrinsics_color.txt')
COLOR_ENDINGS = ('.jpg', '.jpeg', '.png')
DEPTH_ENDINGS = ('.png', '.npy')
# Frames of a video show the same again and again: so many are fused, evenly chosen.
MAX_FRAMES = 200
PIXELS_PER_FRAME = 80_000
VOXEL = .02


@dataclass(frozen=True)
class Intrinsics:
    """Cameras of a folder of frames.

    Attributes:
        depth: float64 (3, 3), of the depth camera.
        color: float64 (3, 3), of the color camera, or None if it shows the same as the depth camera.
    """

    depth: np.ndarray
    color: np.ndarray | None


def is_frame_folder(folder: Path) -> bool:
    """Return whether a folder has depth images in the layout of :func:`read_frames`."""
    depths = depth_images(folder)
    return bool(depths) and (depths[0].suffix.lower() == '.png' or _intrinsics_file(folder) is not None)


def read_frames(folder: Path, show_progress: bool = False) -> tuple[RawCloud, bool, list[str]]:
    """Read the frames of a folder and fuse them to one point per 2 cm.

    The layout is that of ScanNet's export (``depth/0.png``, ``color/0.jpg``, ``pose/0.txt``, ``intrinsic/``), of its
    subset ``scannet_frames_25k`` (``intrinsics_depth.txt``), or a simple one, see :data:`LAYOUT`.

    Returns:
        Points and colors in the frame of the poses, or in that of the camera for one frame without pose; whether there
        are poses; and notes on frames that were not used.

    Raises:
        ValueError: The layout is another, a file is damaged, or several frames have no poses. The message names it.
    """
    depths, notes = depth_images(folder), []
    if not depths:
        raise ValueError(f'{folder} has no depth images: {LAYOUT}')
    cameras = read_intrinsics(folder)
    poses = {path: pose for path in depths if (pose := pose_file(path, folder)) is not None}
    if not poses and len(depths) > 1:
        raise ValueError(f'{folder} has {len(depths)} depth images but no poses: {LAYOUT}')
    if poses and len(poses) < len(depths):
        lacking = len(depths) - len(poses)
        notes.append(f'{folder}: {lacking} of {len(depths)} depth images have no pose and were left out')
        depths = list(poses)
    if len(depths) > MAX_FRAMES:
        notes.append(f'{folder}: {MAX_FRAMES} of {len(depths)} frames were fused, evenly chosen')
        depths = [depths[index] for index in np.linspace(0, len(depths) - 1, MAX_FRAMES).astype(int)]
    parts, lost = [], 0
    for path in tqdm(depths, desc=f'fusing {folder.name}', disable=not show_progress or len(depths) == 1):
        pose = read_matrix(poses[path], finite=False) if poses else None
        if pose is not None and not np.isfinite(pose).all():  # as ScanNet writes it where tracking was lost
            lost += 1
            continue
        depth, scale = read_depth(path)
        frame = RGBDFrame(depth, cameras.depth, read_color(path, folder), pose, scale, cameras.color)
        parts.append(frame.points(PIXELS_PER_FRAME if len(depths) > 1 else None))
        if len(parts) >= 10 and len(depths) > 1:
            parts = [_fused(parts)]
    if lost:
        notes.append(f'{folder}: {lost} frames without a finite pose were left out')
    if not parts:
        raise ValueError(f'{folder}: no frame has a finite pose')
    return (parts[0] if len(depths) == 1 else _fused(parts)), bool(poses), notes


def _fused(parts: Sequence[RawCloud]) -> RawCloud:
    """Return one point per voxel of several clouds, the first of each."""
    points = np.concatenate([part.points for part in parts])
    cells = np.floor(points / VOXEL).astype(np.int64)
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    colored = [part.colors for part in parts if part.colors is not None]
    colors = np.concatenate(colored)[first] if len(colored) == len(parts) else None
    return RawCloud(points[first], colors)


def read_intrinsics(folder: Path) -> Intrinsics:
    """Read the intrinsics of a folder of frames.

    Raises:
        ValueError: There are none of the depth camera, or a file is damaged; the message names it.
    """
    depth_file, color_file = _intrinsics_file(folder), _first_file(folder, COLOR_INTRINSICS_FILES)
    if depth_file is None:
        raise ValueError(f'{folder} has no intrinsics.txt: {LAYOUT}')
    return Intrinsics(read_matrix(depth_file)[:3, :3],
                      None if color_file is None else read_matrix(color_file)[:3, :3])


def depth_images(folder: Path) -> list[Path]:
    """Return the depth images of a folder in the order of their numbers or names."""
    for ending in DEPTH_ENDINGS:
        if (folder / f'depth{ending}').is_file():
            return [folder / f'depth{ending}']
    found = [path for path in (folder / 'depth').glob('*') if path.suffix.lower() in DEPTH_ENDINGS
             and not path.name.startswith('.')]
    return sorted(found, key=lambda path: (int(path.stem) if path.stem.isdecimal() else -1, path.name))


def _intrinsics_file(folder: Path) -> Path | None:
    return _first_file(folder, INTRINSICS_FILES)


def _first_file(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def pose_file(depth: Path, folder: Path) -> Path | None:
    """Return the file with the pose of a depth image, None if it does not exist."""
    file = folder / 'pose.txt' if depth.parent == folder else folder / 'pose' / f'{depth.stem}.txt'
    return file if file.is_file() else None


def read_matrix(path: Path, finite: bool = True) -> np.ndarray:
    """Return the matrix of a text file; a line ``fx fy cx cy`` gives the matrix of a camera.

    Args:
        path: The file.
        finite: Whether a matrix that is not finite is refused.

    Raises:
        ValueError: The file holds something else; the message names it.
    """
    try:
        with open(path, encoding='utf-8') as file:
            values = np.array([[float(word) for word in line.replace(',', ' ').split()] for line in file
                               if line.strip()])
    except ValueError as error:
        raise ValueError(f'{path} is not a matrix of numbers: {error}') from error
    if values.shape == (1, 4) or values.shape == (4, 1):
        fx, fy, cx, cy = values.reshape(-1)
        values = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if values.shape not in ((3, 3), (4, 4)) or finite and not np.isfinite(values).all():
        raise ValueError(f'{path} must hold a finite 3 x 3 or 4 x 4 matrix, or fx fy cx cy; it has {values.shape}')
    return values


def read_depth(path: Path) -> tuple[np.ndarray, float]:
    """Return a depth image, (H, W), and its values per meter.

    Raises:
        ValueError: The file is not a depth image; the message names it.
    """
    if path.suffix.lower() == '.npy':
        return load_npy(path), 1.
    image = read_image(path)
    if image.ndim != 2 or image.dtype != np.uint16:
        raise ValueError(f'{path} must be a 16-bit image of one channel in millimeters, got {image.dtype} '
                         f'{image.shape}')
    return image, 1000.


def read_color(depth: Path, folder: Path) -> np.ndarray | None:
    """Return the color image of a depth image, uint8 (h, w, 3), RGB, None if it does not exist.

    Raises:
        ValueError: The file is not a color image; the message names it.
    """
    files = [folder / f'color{ending}' if depth.parent == folder else folder / 'color' / f'{depth.stem}{ending}'
             for ending in COLOR_ENDINGS]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    image = read_image(file)
    if image.dtype != np.uint8:
        raise ValueError(f'{file} must have 8 bits per channel, got {image.dtype}')
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., 2::-1]


def read_image(path: Path) -> np.ndarray:
    """Return an image as OpenCV reads it, of the type in the file.

    Raises:
        ValueError: The file cannot be read; the message names it.
    """
    import cv2
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f'{path} cannot be read as an image; it may be truncated')
    return image
