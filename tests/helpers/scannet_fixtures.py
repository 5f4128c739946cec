"""A small scan in the files that ScanNet publishes."""
import json

import numpy as np
from plyfile import PlyData, PlyElement

from helpers.scenes import furnished_room

# raw category -> NYU40 id of what scenes.furnished_room holds.
CATEGORIES = {'office chair': 5, 'end table': 7, 'mini fridge': 24, 'nightstand': 32}
MATRIX = np.array([[0, -1, 0, 3.], [1, 0, 0, -1], [0, 0, 1, .25], [0, 0, 0, 1]])


def write_label_map(path):
    rows = ['id\traw_category\tcategory\tnyu40id\tnyu40class',
            *(f'{number}\t{name}\t{name}\t{nyu40}\tclass' for number, (name, nyu40) in enumerate(CATEGORIES.items())),
            '9\twall\twall\t1\twall', '10\tunmapped\tunmapped\t\t']
    path.write_text('\n'.join(rows) + '\n')


def write_scan(folder, seed=0, align=True):
    """Write a furnished room as a scan; returns its points (N, 6) and boxes (4, 6) in the frame of the walls."""
    points, _ = furnished_room(seed=seed)
    points = points.numpy()
    folder.mkdir(parents=True)
    name, count = folder.name, 700
    segments = np.concatenate([np.repeat(np.arange(8), count // 2), np.full(len(points) - 4 * count, 99)])
    groups = [dict(id=number, objectId=number, segments=[2 * number, 2 * number + 1], label=category)
              for number, category in enumerate(CATEGORIES)] + [dict(id=4, objectId=4, segments=[99], label='wall')]
    for mesh, segs, aggregation in (
            ('_vh_clean_2.ply', '_vh_clean_2.0.010000.segs.json', '.aggregation.json'),
            ('_vh_clean.ply', '_vh_clean.segs.json', '_vh_clean.aggregation.json')):
        vertices = np.array([(*row[:3], *np.clip(row[3:], 0, 255), 255) for row in points], dtype=[
            ('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('red', 'u1'), ('green', 'u1'), ('blue', 'u1'), ('alpha', 'u1')])
        faces = np.array([([0, 1, 2], )], dtype=[('vertex_indices', 'i4', (3, ))])
        PlyData([PlyElement.describe(vertices, 'vertex'), PlyElement.describe(faces, 'face')]).write(
            str(folder / f'{name}{mesh}'))
        (folder / f'{name}{segs}').write_text(json.dumps(dict(sceneId=name, segIndices=segments.tolist())))
        (folder / f'{name}{aggregation}').write_text(json.dumps(dict(sceneId=name, segGroups=groups)))
    lines = ['axisAlignment = ' + ' '.join(f'{value:.6f}' for value in MATRIX.flatten())] * align
    (folder / f'{name}.txt').write_text('\n'.join([*lines, 'colorHeight = 968', 'sceneType = Apartment']) + '\n')
    matrix = MATRIX if align else np.eye(4)
    aligned = points[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
    objects = aligned[:4 * count].reshape(4, count, 3)
    lower, upper = objects.min(axis=1), objects.max(axis=1)
    return points, np.concatenate([(lower + upper) / 2, upper - lower], axis=1)
