"""Every reader of files gives sound values or one error that names the file, whatever is done to the file.

A short, repeatable run by default; ``--fuzz-examples N`` tries N random damages of each file.
"""
import json
import pickle
import re
import struct
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings, strategies
from hypothesis.extra import numpy as arrays
from PIL import Image
from pypcd4 import Encoding, PointCloud as PcdFile

from helpers.scannet_fixtures import write_label_map, write_scan
from helpers.stored_shapes import noise_shape
from opendlign_mm.datasets.released import read_aligned_images, read_depth_views
from opendlign_mm.datasets.scannet_scans import read_label_map, read_scan
from opendlign_mm.datasets.scene_datasets import read_info_file
from opendlign_mm.datasets.store.description import read_description
from opendlign_mm.datasets.store.folder_layout import read_depth_map
from opendlign_mm.datasets.store.manifest import manifest_row, read_manifest, write_manifest
from opendlign_mm.datasets.store.tar_shards import read_tar_shard, write_tar_shard
from opendlign_mm.detection.proposals.given_boxes import read_boxes
from opendlign_mm.point_files import read_points
from opendlign_mm.point_files.array_files import h5_records
from opendlign_mm.point_files.restricted_pickle import read_pickle
from opendlign_mm.point_files.shape_files import read_shape
from opendlign_mm.source_files import read_json, read_lines

SECONDS = 60  # of one damaged file: more is a hang
CLOUD = np.random.default_rng(0).random((30, 3))
# Numbers at which readers stumble, as text and as bytes.
NUMBERS = ['-1', '0', '1', '255', '65536', '2147483648', '4294967295', '9223372036854775808', '1e400', '1e-320', 'nan',
           'inf', '-inf', '1e30', '', 'x', '[]', 'null', '"', '{"a":1}', '9' * 5000]
WORDS = [struct.pack(kind, value) for kind, value in (
    ('<i', -1), ('<i', 2**31 - 1), ('<q', -1), ('<q', 2**62), ('<d', float('nan')), ('<d', 1e308), ('<f', float('inf')),
    ('<i', 0), ('>i', 2**31 - 1))]


def mesh(path, **options):
    box = trimesh.creation.icosphere(subdivisions=1)
    if options.get('colors'):
        box.visual.vertex_colors = np.arange(len(box.vertices) * 4).reshape(-1, 4) % 256
    content = box.export(file_type=path.suffix[1:], **{key: value for key, value in options.items() if key != 'colors'})
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def h5(path):
    with h5py.File(path, 'w') as file:
        file.create_dataset('data', data=CLOUD[None].astype('f4'), compression='gzip')
        file['label'] = np.zeros((1, 1), 'u1')


def gltf(path):
    for name, content in trimesh.Scene(trimesh.creation.box()).export(file_type='gltf').items():
        (path.parent / (path.name if name.endswith('.gltf') else name)).write_bytes(content)


def scan(path):
    write_scan(path.parent)


def image(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def info(path):
    scenes = [dict(lidar_points=dict(lidar_path='a.bin'), axis_align_matrix=np.eye(4), instances=[])]
    path.write_bytes(pickle.dumps(dict(metainfo=dict(categories=['chair']), data_list=scenes)))


def points(path):
    shape = read_shape(path, 50)
    assert shape.points.dtype == np.float32 and 0 < len(shape.points) <= 50 and shape.points.shape[1] == 3
    assert np.isfinite(shape.points).all() and shape.offset.shape == (3, ) and np.isfinite(shape.offset).all()
    assert shape.colors is None or shape.colors.dtype == np.uint8 and shape.colors.shape == shape.points.shape


def pcd(encoding):
    return lambda path: PcdFile.from_xyz_points(CLOUD.astype(np.float32)).save(path, encoding)


def las(path):
    import laspy
    file = laspy.LasData(laspy.LasHeader(point_format=2, version='1.2'))
    file.xyz = CLOUD
    file.red = np.arange(len(CLOUD), dtype=np.uint16)
    file.write(str(path))


def frame(path):
    depth = np.random.default_rng(0).integers(900, 1000, (8, 8)).astype(np.uint16)
    Image.fromarray(depth).save(path.parent / 'depth.png')
    (path.parent / 'intrinsics.txt').write_text('8 8 4 4\n')
    np.savetxt(path.parent / 'pose.txt', np.eye(4))


def cloud(path):
    found = read_points(path if path.name[0] in 'acb' else path.parent, max_points=10000)
    assert found.points.dtype == np.float64 and np.isfinite(found.points).all() and len(found.points)
    assert found.colors is None or found.colors.shape == found.points.shape and 0 <= found.colors.min() and (
        found.colors.max() <= 1)


def unit_views(path):
    views = read_depth_views(path)
    assert views.dtype == np.float32 and views.size and views.min() >= 0 and views.max() <= 1


def scan_of(path):
    found = read_scan(path.parent)
    assert np.isfinite(found.points).all() and found.axis_align_matrix.shape == (4, 4)
    found.boxes(dict(chair=5), {'office chair': 5})


def shard(path):
    for shape in read_tar_shard(path):
        try:
            shape.depth_views(), shape.images()
        except ValueError as error:  # an object knows its name alone
            raise ValueError(f'{path}: {error}') from error


SCAN = 'scene0000_00/scene0000_00'
# name of the file -> what writes it, what reads it. An ending may stand for several kinds.
FILES = {
    'a.npy': (lambda path: np.save(path, CLOUD), points),
    'objects.npy': (lambda path: np.save(path, dict(xyz=CLOUD, rgb=CLOUD), allow_pickle=True), points),
    'comma.txt': (lambda path: np.savetxt(path, CLOUD, delimiter=',', fmt='%.4f'), points),
    'blank.txt': (lambda path: np.savetxt(path, CLOUD, fmt='%.4f'), points),
    'ascii.pcd': (pcd(Encoding.ASCII), cloud),
    'binary.pcd': (pcd(Encoding.BINARY), cloud),
    'compressed.pcd': (pcd(Encoding.BINARY_COMPRESSED), cloud),
    'a.las': (las, cloud),
    'a.laz': (las, cloud),
    'a.npz': (lambda path: np.savez(path, points=CLOUD, colors=CLOUD), cloud),
    'columns.csv': (lambda path: np.savetxt(path, np.hstack([CLOUD, CLOUD]), delimiter=';', header='x;y;z;r;g;b',
                                            comments=''), cloud),
    'depth.png': (frame, cloud),
    'pose.txt': (frame, cloud),
    'intrinsics.txt': (frame, cloud),
    'a.h5': (h5, lambda path: read_shape(path, index=0)),
    'records.h5': (h5, lambda path: h5_records(path, ['cup', 'mug'], 'a')),
    'cloud.ply': (lambda path: trimesh.PointCloud(CLOUD, colors=np.zeros((30, 4), np.uint8)).export(path), points),
    'mesh.ply': (lambda path: mesh(path, colors=True), points),
    'text.ply': (lambda path: mesh(path, colors=True, encoding='ascii'), points),
    'a.off': (mesh, points),
    'a.obj': (lambda path: mesh(path, colors=True), points),
    'a.stl': (mesh, points),
    'text.stl': (lambda path: path.write_text(trimesh.exchange.stl.export_stl_ascii(trimesh.creation.box())), points),
    'a.glb': (lambda path: mesh(path, colors=True), points),
    'a.gltf': (gltf, points),
    'views_dm.npy': (lambda path: np.save(path, (CLOUD[:, :, None] * [[[1., 1, 1]]])[None]), unit_views),
    'gray_dm.npy': (lambda path: np.save(path, np.zeros((2, 4, 4), np.uint8)), read_depth_map),
    'a.png': (image, lambda path: read_aligned_images([path])),
    'a.jpg': (image, lambda path: read_aligned_images([path])),
    'info.pkl': (info, read_info_file),
    'any.pkl': (info, lambda path: read_pickle(path, '')),
    'a.json': (lambda path: path.write_text(json.dumps([dict(category='a', n=[1, 2.5])])),
               lambda path: read_json(path, '')),
    'list.txt': (lambda path: path.write_text('one\ntwo\n'), lambda path: read_lines(path, '')),
    'labels.tsv': (write_label_map, read_label_map),
    f'{SCAN}_vh_clean_2.ply': (scan, scan_of),
    f'{SCAN}_vh_clean_2.0.010000.segs.json': (scan, scan_of),
    f'{SCAN}.aggregation.json': (scan, scan_of),
    f'{SCAN}.txt': (scan, scan_of),
    'boxes.json': (lambda path: path.write_text(json.dumps(dict(boxes=[[0, 0, 0, 1, 1, 1]], scores=[.5]))), read_boxes),
    'boxes.npz': (lambda path: np.savez(path, boxes=np.ones((2, 7)), scores=np.ones(2)), read_boxes),
    'shard.tar': (lambda path: write_tar_shard(path, [noise_shape('a', size=8), noise_shape('b', size=8)]), shard),
    'manifest.parquet': (lambda path: write_manifest(path, [manifest_row(dict(sample_id='a'))], dict(a='b')),
                         read_manifest),
    'store.json': (lambda path: path.write_text(json.dumps(dict(
        layout='shards', num_shapes=1, shapes_per_shard=1, settings={}))), read_description)}

PLACES = strategies.floats(0, 1)
EDITS = strategies.one_of(
    strategies.tuples(strategies.just('cut'), PLACES),
    strategies.tuples(strategies.just('flip'), PLACES, strategies.integers(0, 7)),
    strategies.tuples(strategies.just('insert'), PLACES, strategies.binary(max_size=20)),
    strategies.tuples(strategies.just('delete'), PLACES, strategies.integers(1, 40)),
    strategies.tuples(strategies.just('repeat'), PLACES, strategies.integers(1, 200)),
    strategies.tuples(strategies.just('word'), PLACES, strategies.sampled_from(WORDS)),
    strategies.tuples(strategies.just('number'), PLACES, strategies.sampled_from(NUMBERS)))


def edited(content: bytes, edits: list) -> bytes:
    for kind, place, *what in edits:
        at = int(place * len(content))
        if kind == 'cut':
            content = content[:at]
        elif kind == 'flip' and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << what[0]]) + content[at + 1:]
        elif kind == 'insert':
            content = content[:at] + what[0] + content[at:]
        elif kind == 'delete':
            content = content[:at] + content[at + what[0]:]
        elif kind == 'repeat':
            content = content[:at + what[0]] + content[at:]
        elif kind == 'word':
            content = content[:at] + what[0] + content[at + len(what[0]):]
        elif kind == 'number':
            found = list(re.finditer(rb'-?\d[\d.e+-]*', content[:4000]))
            if found:
                number = found[min(int(place * len(found)), len(found) - 1)]
                content = content[:number.start()] + what[0].encode() + content[number.end():]
    return content


def read_or_refuse(read, path: Path) -> None:
    """Read a damaged file; fail unless it ends soon, in sound values or in one error that names the file."""
    outcome: list = []

    def work():
        try:
            read(path)
        except (OSError, ValueError) as error:
            named = str(path) in str(error) or str(path.parent) in str(error)
            outcome.append(None if named else AssertionError(f'the file is not named: {error}'))
        except BaseException as error:
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert outcome, 'the reader hangs'
    if outcome[0] is not None:
        raise outcome[0]


def fuzz(strategy, fuzz_examples: int | None, default: int):
    """Decorate a function of one example; repeatable unless a number of examples was asked for."""
    options = settings(
        max_examples=fuzz_examples or default, derandomize=fuzz_examples is None, database=None, deadline=None,
        print_blob=True, suppress_health_check=list(HealthCheck))
    return lambda function: options(given(strategy)(function))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', FILES)
def test_damaged_files(tmp_path, name, fuzz_examples):
    path = tmp_path / name
    write, read = FILES[name]
    write(path)
    read(path)  # as it is, it can be read
    content = path.read_bytes()

    @fuzz(strategies.lists(EDITS, min_size=1, max_size=4), fuzz_examples, 20)
    def check(edits):
        path.write_bytes(edited(content, edits))
        read_or_refuse(read, path)

    check()


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', FILES)
def test_files_of_anything(tmp_path, name, fuzz_examples):
    path = tmp_path / name
    write, read = FILES[name]
    write(path)

    @fuzz(strategies.one_of(strategies.binary(max_size=300), strategies.text(max_size=100).map(
        lambda text: text.encode(errors='surrogatepass'))), fuzz_examples, 5)
    def check(content):
        path.write_bytes(content)
        read_or_refuse(read, path)

    check()


@pytest.mark.filterwarnings('ignore')
def test_arrays_of_every_kind(tmp_path, fuzz_examples):
    kinds = strategies.one_of(arrays.scalar_dtypes(), arrays.array_dtypes(), strategies.just(np.dtype(object)))
    values = kinds.flatmap(lambda kind: arrays.arrays(
        kind, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        elements=strategies.sampled_from([None, 1, 'a', {}, [1, 2]]) if kind.hasobject else None))
    path = tmp_path / 'a.npy'

    @fuzz(strategies.tuples(values, values), fuzz_examples, 60)
    def check(pair):
        for stored in (pair[0], dict(xyz=pair[0], rgb=pair[1])):
            np.save(path, stored, allow_pickle=True)
            read_or_refuse(points, path)
        np.save(path, pair[0], allow_pickle=True)
        read_or_refuse(unit_views, path)

    check()
