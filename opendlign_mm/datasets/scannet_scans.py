"""ScanNet's own files -> points, instances and boxes of a scan."""
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyParseError

# Names of the files of a scan. The coarse mesh (2 cm) is what detectors are trained on; the fine one is complete.
MESHES = dict(
    coarse=dict(mesh='{}_vh_clean_2.ply', segments='{}_vh_clean_2.0.010000.segs.json',
                groups=('{}.aggregation.json', '{}_vh_clean.aggregation.json')),
    fine=dict(mesh='{}_vh_clean.ply', segments='{}_vh_clean.segs.json', groups=('{}_vh_clean.aggregation.json', )))


@dataclass(frozen=True)
class ScanNetScan:
    """One scan with its annotations.

    Attributes:
        points: float32 (N, 6): x y z in meters as scanned, r g b in [0, 255].
        axis_align_matrix: float64 (4, 4), rigid; takes the points to the frame of the walls.
        objects: for each annotated object its name in ScanNet's raw categories and int64 (n,) indices of its points.
    """
    points: np.ndarray
    axis_align_matrix: np.ndarray
    objects: list[tuple[str, np.ndarray]]

    def boxes(self, classes: dict[str, int], nyu40_ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes around the objects of some classes, axis-aligned in the frame of the walls.

        Args:
            classes: name -> NYU40 id, in the order of the labels.
            nyu40_ids: raw category -> NYU40 id, see :func:`read_label_map`.

        Returns:
            float64 (M, 6): gravity center and size in meters; int64 (M,): places in ``classes``.
        """
        label_of = {nyu40: label for label, nyu40 in enumerate(classes.values())}
        aligned = self.points[:, :3] @ self.axis_align_matrix[:3, :3].T + self.axis_align_matrix[:3, 3]
        boxes, labels = [], []
        for category, indices in self.objects:
            label = label_of.get(nyu40_ids.get(category))
            if label is not None and len(indices):
                lower, upper = aligned[indices].min(axis=0), aligned[indices].max(axis=0)
                boxes.append(np.concatenate([(lower + upper) / 2, upper - lower]))
                labels.append(label)
        return np.array(boxes).reshape(-1, 6), np.array(labels, dtype=np.int64)


def read_label_map(path: Path) -> dict[str, int]:
    """Raw category -> NYU40 id, from ``scannetv2-labels.combined.tsv``.

    Raises:
        ValueError: the file lacks the columns ``raw_category`` and ``nyu40id``.
    """
    with open(path, newline='') as file:
        rows = csv.DictReader(file, delimiter='\t')
        if not {'raw_category', 'nyu40id'} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has no columns 'raw_category' and 'nyu40id': give ScanNet's "
                             'scannetv2-labels.combined.tsv')
        return {row['raw_category']: int(row['nyu40id']) for row in rows if (row['nyu40id'] or '').isdigit()}


def read_scan(folder: Path, mesh: str = 'coarse') -> ScanNetScan:
    """Read ``folder/SCAN_vh_clean_2.ply`` and the annotations beside it.

    Args:
        folder: of one scan, named as the scan is, e.g. ``scans/scene0000_00``.
        mesh: 'coarse' (``_vh_clean_2``) or 'fine' (``_vh_clean``).

    Raises:
        FileNotFoundError: a file is missing; the message names it.
        ValueError: a file is damaged, or the files do not belong together; the message names it.
    """
    if mesh not in MESHES:
        raise ValueError(f'mesh must be one of {sorted(MESHES)}, got {mesh!r}')
    names = MESHES[mesh]
    folder = Path(folder)
    points = _read_vertices(_existing(folder, names['mesh']))
    segments_path, groups_path = _existing(folder, names['segments']), _existing(folder, *names['groups'])
    segments = np.asarray(_read_json(segments_path, 'segIndices'), dtype=np.int64)
    if segments.shape != (len(points), ):
        raise ValueError(f'{segments_path} has segments of {segments.size} points, the mesh has {len(points)}: they '
                         'are not of the same mesh')
    objects = [(group['label'], np.flatnonzero(np.isin(segments, group['segments'])))
               for group in _read_json(groups_path, 'segGroups')]
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
        raise ValueError(f'{path} is damaged or no mesh with colored vertices: {error}') from error
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f'{path} has no vertices, or some that are not finite')
    return points.astype(np.float32)


def _read_json(path: Path, key: str) -> list:
    try:
        return json.loads(path.read_text())[key]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged or has no '{key}': {error}") from error


def _read_alignment(path: Path) -> np.ndarray:
    """The 4 x 4 matrix of the line ``axisAlignment = ...``; without such a line or file the scan stays as it is."""
    value: str | None = None
    if path.is_file():
        for line in path.read_text().splitlines():
            name, _, text = line.partition('=')
            if name.strip() == 'axisAlignment':
                value = text
    if value is None:
        return np.eye(4)
    try:
        return np.array(value.split(), dtype=np.float64).reshape(4, 4)
    except ValueError as error:
        raise ValueError(f'{path}: axisAlignment is no 4 x 4 matrix') from error
