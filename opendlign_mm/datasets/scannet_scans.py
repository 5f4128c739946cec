"""Scans of ScanNet in its own files: points, instances and boxes."""
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from plyfile import PlyData, PlyParseError

from ..source_files import read_json, read_text

REMEDY = "Download it again with ScanNet's script."
# Names of the files of a scan. Detectors are trained on the coarse mesh (2 cm); the fine one is complete.
MESHES = dict(
    coarse=dict(mesh='{}_vh_clean_2.ply', segments='{}_vh_clean_2.0.010000.segs.json',
                groups=('{}.aggregation.json', '{}_vh_clean.aggregation.json')),
    fine=dict(mesh='{}_vh_clean.ply', segments='{}_vh_clean.segs.json', groups=('{}_vh_clean.aggregation.json', )))


@dataclass(frozen=True)
class ScanNetScan:
    """One scan with its annotations.

    Attributes:
        points: float32 (N, 6): x, y, z in meters as scanned, r, g, b in [0, 255].
        axis_align_matrix: float64 (4, 4), rigid transform of the points to the frame of the walls.
        objects: Name in ScanNet's raw categories and indices of the points, int64 (n,), of each annotated object.
    """

    points: np.ndarray
    axis_align_matrix: np.ndarray
    objects: list[tuple[str, np.ndarray]]

    def boxes(self, classes: dict[str, int], ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Compute the boxes around the objects of some classes, axis-aligned in the frame of the walls.

        Args:
            classes: Name -> id, in the order of the labels.
            ids: Raw category -> id of the same kind; see :func:`read_label_map`.

        Returns:
            Gravity centers and sizes in meters, float64 (M, 6), and indices in ``classes``, int64 (M,).
        """
        label_of = {identifier: label for label, identifier in enumerate(classes.values())}
        aligned = self.points[:, :3] @ self.axis_align_matrix[:3, :3].T + self.axis_align_matrix[:3, 3]
        boxes, labels = [], []
        for category, indices in self.objects:
            label = label_of.get(ids.get(category))
            if label is not None and len(indices):
                lower, upper = aligned[indices].min(axis=0), aligned[indices].max(axis=0)
                boxes.append(np.concatenate([(lower + upper) / 2, upper - lower]))
                labels.append(label)
        return np.array(boxes).reshape(-1, 6), np.array(labels, dtype=np.int64)


def list_scans(folder: Path, split: Path | None = None) -> list[str]:
    """Return the names of the scans in a folder, a sub-folder for each, in the order of the split or by name.

    Args:
        folder: Folder of the scans.
        split: Text file with the name of one scan per line; None takes all.

    Raises:
        FileNotFoundError: The folder, the split, or a scan of the split, does not exist.
        ValueError: There are no scans.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'the folder of scans {folder} does not exist')
    if split is None:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    else:
        lines = read_text(split, 'Give a text file with the name of one scan per line.').splitlines()
        names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise ValueError(f'{split or folder} names no scans')
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(names)} scans of {split} are not in {folder}: '
                                f'{", ".join(missing[:5])}')
    return names


def read_label_map(path: Path, column: Literal['nyu40id', 'id'] = 'nyu40id') -> dict[str, int]:
    """Read raw category -> id from ``scannetv2-labels.combined.tsv``.

    Args:
        path: The file.
        column: 'nyu40id', or 'id', that of ScanNet's own labels, which ScanNet200 uses.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file lacks the columns ``raw_category`` and ``column``; the message names it.
    """
    remedy = "Give ScanNet's scannetv2-labels.combined.tsv."
    rows = csv.DictReader(read_text(path, remedy).splitlines(), delimiter='\t')
    try:
        columns = set(rows.fieldnames or ())
        found = {row['raw_category']: int(row[column]) for row in rows if (row.get(column) or '').isdecimal()}
    except (csv.Error, KeyError, ValueError):
        columns = set()
    if not {'raw_category', column} <= columns:
        raise ValueError(f"{path} is damaged or has no columns 'raw_category' and '{column}'. {remedy}")
    return found


def read_scan(folder: Path, mesh: str = 'coarse') -> ScanNetScan:
    """Read ``folder/SCAN_vh_clean_2.ply`` and the annotations next to it.

    Args:
        folder: Folder of one scan, which has its name, e.g. ``scans/scene0000_00``.
        mesh: 'coarse' (``_vh_clean_2``) or 'fine' (``_vh_clean``).

    Raises:
        FileNotFoundError: A file is missing; the message names it.
        ValueError: A file is damaged, or the files do not belong together; the message names it.
    """
    if mesh not in MESHES:
        raise ValueError(f'mesh must be one of {sorted(MESHES)}, got {mesh!r}')
    names = MESHES[mesh]
    folder = Path(folder)
    points = _read_vertices(_existing(folder, names['mesh']))
    segments_path, groups_path = _existing(folder, names['segments']), _existing(folder, *names['groups'])
    segments = _integers(_read_json(segments_path, 'segIndices'), segments_path)
    if segments.shape != (len(points), ):
        raise ValueError(f'{segments_path} has segments of {segments.size} points, the mesh has {len(points)}: they '
                         'are not of the same mesh')
    objects = []
    for group in _read_json(groups_path, 'segGroups'):
        if not isinstance(group, dict) or not isinstance(group.get('label'), str):
            raise ValueError(f"{groups_path} is damaged: a group has no 'label'. {REMEDY}")
        own = _integers(group.get('segments'), groups_path)
        objects.append((group['label'], np.flatnonzero(np.isin(segments, own))))
    return ScanNetScan(points, _read_alignment(folder / f'{folder.name}.txt'), objects)


def _existing(folder: Path, *names: str) -> Path:
    paths = [folder / name.format(folder.name) for name in names]
    for path in paths:
        if path.is_file():
            return path
    raise FileNotFoundError(f'{" and ".join(map(str, paths))} do not exist; download this type of file with '
                            "ScanNet's script" if len(paths) > 1 else
                            f"{paths[0]} does not exist; download this type of file with ScanNet's script")


def _read_vertices(path: Path) -> np.ndarray:
    try:
        vertices = PlyData.read(str(path))['vertex']
        points = np.stack([vertices[name] for name in ('x', 'y', 'z', 'red', 'green', 'blue')], axis=1)
    except (PlyParseError, KeyError, ValueError) as error:
        raise ValueError(f'{path} is damaged or not a mesh with colored vertices: {error}') from error
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f'{path} has no vertices, or some that are not finite')
    return points.astype(np.float32)


def _read_json(path: Path, key: str) -> list:
    contents = read_json(path, REMEDY)
    if not isinstance(contents, dict) or not isinstance(contents.get(key), list):
        raise ValueError(f"{path} is damaged or has no '{key}'. {REMEDY}")
    return contents[key]


def _integers(values: Any, path: Path) -> np.ndarray:
    """Return a list of integers as int64 (N,)."""
    try:
        array = np.asarray(values, dtype=np.int64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is damaged: {error}. {REMEDY}') from error
    if array.ndim != 1:
        raise ValueError(f'{path} is damaged: segments must be a list of integers. {REMEDY}')
    return array


def _read_alignment(path: Path) -> np.ndarray:
    """Return the 4 x 4 matrix of the line ``axisAlignment = ...``, the identity without such a line or file."""
    value: str | None = None
    if path.exists():
        for line in read_text(path, REMEDY).splitlines():
            name, _, text = line.partition('=')
            if name.strip() == 'axisAlignment':
                value = text
    if value is None:
        return np.eye(4)
    try:
        matrix = np.array(value.split(), dtype=np.float64).reshape(4, 4)
    except ValueError as error:
        raise ValueError(f'{path}: axisAlignment is not a 4 x 4 matrix. {REMEDY}') from error
    if not np.isfinite(matrix).all():
        raise ValueError(f'{path}: axisAlignment is not finite. {REMEDY}')
    return matrix
