"""Small datasets in the layouts in which the real ones are published, with their names, columns, types and separators.

Each function writes one in ``root`` and returns what a reader has to find: sample -> points as in the file.
"""
import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

SHAPE_NAMES = ('airplane', 'bathtub', 'night_stand', 'xbox')


def cloud(name: str, num_points: int = 60, columns: int = 3) -> np.ndarray:
    """Return points float32 (N, columns) in a box that is longest along y, different for each name."""
    random = np.random.default_rng(list(name.encode()))
    return (random.random((num_points, columns)) * ((.5, 2., 1.) + (1., ) * (columns - 3))).astype(np.float32)


def write_modelnet40_resampled(root: Path) -> dict[str, np.ndarray]:
    """Six comma-separated columns with six decimals; the split files name objects without their ending."""
    root.mkdir(parents=True)
    (root / 'modelnet40_shape_names.txt').write_text('\n'.join(SHAPE_NAMES) + '\n')
    found = {}
    for split, number in (('train', 1), ('test', 627)):
        names = [f'{category}_{number:04d}' for category in reversed(SHAPE_NAMES)]
        (root / f'modelnet40_{split}.txt').write_text('\n'.join(names) + '\n')
        for name in names:
            folder = root / name.rpartition('_')[0]
            folder.mkdir(exist_ok=True)
            rows = [','.join(f'{value:.6f}' for value in row) for row in cloud(name, columns=6)]
            (folder / f'{name}.txt').write_text('\n'.join(rows) + '\n')
            if split == 'test':
                found[name] = np.array([row.split(',')[:3] for row in rows], dtype=np.float32)
    return found


def write_modelnet40_h5(root: Path) -> dict[str, np.ndarray]:
    """data float32 (M, 2048, 3), label uint8 (M, 1), normal and faceId; paths as the authors had them."""
    root.mkdir(parents=True)
    (root / 'shape_names.txt').write_text('\n'.join(SHAPE_NAMES))
    found = {}
    for split, labels in (('train0', [3, 1]), ('test0', [2, 0, 3]), ('test1', [1])):
        points = np.stack([cloud(f'{split}{row}', 2048) for row in range(len(labels))])
        with h5py.File(root / f'ply_data_{split}.h5', 'w') as file:
            file.create_dataset('data', data=points, compression='gzip')
            file.create_dataset('faceId', data=np.zeros(points.shape[:2], np.int32))
            file.create_dataset('label', data=np.array(labels, np.uint8)[:, None])
            file.create_dataset('normal', data=points)
        if split.startswith('test'):
            found.update({f'ply_data_{split}/{row}': points[row] for row in range(len(labels))})
    for split, files in (('train', ['train0']), ('test', ['test0', 'test1'])):
        lines = [f'data/modelnet40_ply_hdf5_2048/ply_data_{name}.h5' for name in files]
        (root / f'{split}_files.txt').write_text('\n'.join(lines) + '\n')
    return found


def write_modelnet40_meshes(root: Path) -> None:
    """Boxes of 1 x 2 x 4; in a part of the published files the counts stand on the line of the word OFF."""
    corners = [(x, y, z) for x in (0, 1) for y in (0, 2) for z in (0, 4)]
    faces = [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6), (0, 2, 6),
             (0, 6, 4), (1, 5, 7), (1, 7, 3)]
    body = ''.join(f'{x} {y} {z}\n' for x, y, z in corners) + ''.join(f'3 {a} {b} {c}\n' for a, b, c in faces)
    for category in SHAPE_NAMES:
        for split, number in (('train', 1), ('test', 627)):
            path = root / category / split / f'{category}_{number:04d}.off'
            path.parent.mkdir(parents=True)
            path.write_text(('OFF' if category == 'bathtub' else 'OFF\n') + f'{len(corners)} {len(faces)} 0\n' + body)


def write_scanobjectnn(root: Path, labels: Sequence[int] = (9, 0, 14)) -> np.ndarray:
    """data float32 (M, 2048, 3), label int32 (M,) and mask; no names anywhere."""
    path = root / 'h5_files/main_split_nobg/test_objectdataset.h5'
    path.parent.mkdir(parents=True)
    points = np.stack([cloud(f'scan{row}', 2048) for row in range(len(labels))])
    with h5py.File(path, 'w') as file:
        file.create_dataset('data', data=points)
        file.create_dataset('label', data=np.array(labels, np.int32))
        file.create_dataset('mask', data=np.zeros(points.shape[:2], np.int32))
    return points


def write_omniobject3d(root: Path, objects: Sequence[str] = ('toy_animals_001', 'toy_animals_002', 'anise_003')
                       ) -> dict[str, np.ndarray]:
    """Binary ply files of doubles, without colors."""
    from plyfile import PlyData, PlyElement
    found = {}
    for name in objects:
        path = root / name.rpartition('_')[0] / f'{name}.ply'
        path.parent.mkdir(parents=True, exist_ok=True)
        points = cloud(name)
        vertices = np.array([tuple(point) for point in points], dtype=[(axis, '<f8') for axis in 'xyz'])
        PlyData([PlyElement.describe(vertices, 'vertex')], text=False, byte_order='<').write(str(path))
        found[name] = points
    return found


def write_objaverse_lvis(root: Path) -> dict[str, dict]:
    """A list with paths of its authors' machine; each file a pickled dict, points of half or single precision."""
    found, entries = {}, []
    for number, (group, category) in enumerate((('000-032', 'salmon_(fish)'), ('000-032', 'Band_Aid'),
                                                ('000-101', 'apple'))):
        uid = f'{number:032x}'
        data = dict(dataset='Objaverse', group=group, id=uid, xyz=cloud(uid).astype(np.float16 if number else 'f4'),
                    rgb=np.random.default_rng(number).random((60, 3)).astype(np.float32), text=['a thing'],
                    text_feat=[dict(original=np.zeros((1, 4), np.float32))], blip_caption='a thing')
        path = root / 'Objaverse' / group / f'{uid}.npy'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, data, allow_pickle=True)
        published = f'/mnt/data/objaverse-processed/merged_for_training_final/Objaverse/{group}/{uid}.npy'
        entries.append(dict(uid=uid, group=group, category=category, data_path=published))
        found[uid] = data
    _write_json(root / 'meta_data/split/lvis.json', entries)
    return found


def write_openshape_modelnet40(root: Path) -> Sequence[dict]:
    """One array of dicts, in the order of the list; colors are a constant 100 of 255."""
    names = ('night_stand_0201', 'airplane_0627', 'airplane_0628')
    clouds = [dict(xyz=cloud(name), rgb=np.full((60, 3), 100)) for name in names]
    folder = root / 'meta_data/modelnet40'
    _write_json(folder / 'test_split.json', [
        dict(name=name, category=name.rpartition('_')[0].replace('_', ' ')) for name in names])
    np.save(folder / 'test_pc.npy', np.array(clouds, dtype=object), allow_pickle=True)
    return clouds


def write_shapenet55(root: Path) -> dict[str, np.ndarray]:
    """Lists of file names, float32 arrays, and a taxonomy with sub-classes that no list uses."""
    taxonomy = [dict(synsetId='02691156', name='airplane,aeroplane,plane', children=['02690373'], numInstances=4045),
                dict(synsetId='02690373', name='airliner', children=[], numInstances=1490),
                dict(synsetId='03001627', name='chair', children=[], numInstances=6778),
                dict(synsetId='02747177', name='ashcan,trash can,garbage can', children=[], numInstances=343)]
    _write_json(root / 'taxonomy.json', taxonomy)
    lists = dict(train=['03001627-1a6f615e8b1b5ae4dbbc9440457e303e', '02691156-1a04e3eab45ca15dd86060f189eb133'],
                 test=['02747177-3d1b9e8d-8a3b'])
    (root / 'shapenet_pc').mkdir()
    found = {}
    for split, names in lists.items():
        (root / f'{split}.txt').write_text(''.join(f'{name}.npy\n' for name in names))
        for name in names:
            found[name] = cloud(name)
            np.save(root / 'shapenet_pc' / f'{name}.npy', found[name])
    return found


def write_shapenet55_renderings(root: Path, names: Sequence[str]) -> None:
    """ULIP's 60 renderings of each object: 30 azimuths, in color (200) and of depth (50)."""
    for name in names:
        folder = root / 'rendered_images' / name
        folder.mkdir(parents=True)
        for azimuth in range(0, 360, 12):
            for kind, color in (('', 200), ('_depth0001', 50)):
                pixels = np.full((40, 40, 3), color, np.uint8)
                pixels[0] = azimuth // 2
                Image.fromarray(pixels).save(folder / f'{name}_r_{azimuth:03d}{kind}.png')


def write_released_depth_maps(root: Path, dataset: str = 'modelnet40', size: int = 32, dtype=np.uint8,
                              names: Sequence[str] = ('airplane_0627+airplane', 'night_stand_0201+night_stand'),
                              views: int = 10) -> dict[str, np.ndarray]:
    """Depth maps (V, H, W, 3) with three equal channels, uint8 or float in [0, 1]."""
    folder = root / dataset / 'depth_map'
    folder.mkdir(parents=True)
    found = {}
    for name in names:
        gray = np.random.default_rng(list(name.encode())).integers(0, 256, (views, size, size, 1), dtype=np.uint8)
        stored = np.repeat(gray, 3, axis=-1)
        found[name] = stored if dtype == np.uint8 else (stored / 255).astype(dtype)
        np.save(folder / f'{name}_dm.npy', found[name])
    return found


def write_released_training_set(root: Path, names: Sequence[str] = ('1a04e3ea', '1a6f615e', '3d1b9e8d'), size: int = 32,
                                views: int = 10) -> dict[str, tuple]:
    """Depth maps and png files of the same names: <id>_dm.npy, <id>/0.png to <id>/9.png."""
    depth = write_released_depth_maps(root, 'shapenet', size, names=names, views=views)
    found = {}
    for name in names:
        folder = root / 'shapenet/depth_align_img' / name
        folder.mkdir(parents=True)
        images = np.random.default_rng(len(found)).integers(0, 256, (views, size, size, 3), dtype=np.uint8)
        for view, image in enumerate(images):
            Image.fromarray(image).save(folder / f'{view}.png')
        found[name] = (depth[name], images)
    return found


def _write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
