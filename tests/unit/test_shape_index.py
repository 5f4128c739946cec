"""The index of shapes: equal to brute force, whole or not at all on disk, and clear about what is damaged."""
import json
import sys

import faiss
import numpy as np
import pytest
from mmengine.config import Config

from opendlign_mm.retrieval import ShapeIndex, vectors as vectors_module


def random_index(count=200, dimension=16, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    shapes = [dict(sample_id=f'shape {row}', category='ä') for row in range(count)]
    thumbnails = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 6), dtype=np.uint8)
    config = Config(dict(model=dict(type='M')))
    return vectors, ShapeIndex(vectors, shapes, thumbnails, dict(checkpoint='a.pth'), config)


@pytest.mark.parametrize('num_queries', [1, 3, 50])
def test_equals_brute_force(num_queries):
    vectors, index = random_index()
    queries = np.random.default_rng(1).normal(size=(num_queries, 16)) * 5
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, vectors)]
    cosines = unit[0] @ unit[1].T
    expected = np.argsort(-cosines, axis=1)[:, :7]
    found, rows = index.search(queries, 7)
    assert (rows == expected).all()
    np.testing.assert_allclose(found, np.take_along_axis(cosines, expected, axis=1), atol=1e-6)


def test_100000_vectors():
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((100_000, 64), dtype=np.float32)
    index = ShapeIndex(vectors, [{}] * 100_000, np.zeros((100_000, 1, 1), np.uint8), {}, Config())
    query = generator.standard_normal((1, 64), dtype=np.float32)
    expected = np.argsort(-(vectors @ query[0]) / np.linalg.norm(vectors, axis=1))[:10]
    assert (index.search(query, 10)[1][0] == expected).all()
    assert index.search(vectors[54_321][None], 1)[1].item() == 54_321


def test_folder_gives_the_same_index(tmp_path):
    vectors, index = random_index()
    index.save(tmp_path / 'deep' / 'index')
    loaded = ShapeIndex.load(tmp_path / 'deep' / 'index')
    for one, other in zip(index.search(vectors[:20], 5), loaded.search(vectors[:20], 5)):
        assert (one == other).all()
    assert loaded.shapes == index.shapes and (loaded.thumbnails == index.thumbnails).all()
    assert loaded.about == dict(checkpoint='a.pth', num_shapes=200, dimension=16) and loaded.config.model.type == 'M'
    lines = (tmp_path / 'deep/index/shapes.jsonl').read_text().splitlines()
    assert json.loads(lines[7]) == dict(sample_id='shape 7', category='ä')
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['index'], 'no temporary folders'


def test_top_beyond_the_index_and_wrong_queries():
    vectors, index = random_index(3)
    cosines, rows = index.search(vectors[:1], 10)
    assert cosines.shape == (1, 3) and sorted(rows[0]) == [0, 1, 2]
    with pytest.raises(ValueError, match=r'must have shape \(Q, 16\), got \(1, 8\)'):
        index.search(np.ones((1, 8)))
    with pytest.raises(ValueError, match='top must be >= 1, got 0'):
        index.search(vectors, 0)
    for wrong in (0., np.nan):
        with pytest.raises(ValueError, match='a query is zero or not finite'):
            index.search(np.full((1, 16), wrong))


def test_wrong_vectors():
    thumbnails = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(ValueError, match='at least one vector'):
        ShapeIndex(np.zeros((0, 4)), [], thumbnails[:0], {}, Config())
    with pytest.raises(ValueError, match='2 vectors, but metadata of 1 and thumbnails of 2'):
        ShapeIndex(np.ones((2, 4)), [{}], thumbnails, {}, Config())
    for wrong in (0., np.inf):
        with pytest.raises(ValueError, match="vector of shape {'sample_id': 'b'} is zero or not finite"):
            ShapeIndex([[1., 1.], [wrong, 0.]], [dict(sample_id='a'), dict(sample_id='b')], thumbnails, {}, Config())


@pytest.mark.parametrize('name', ['vectors.faiss', 'shapes.jsonl', 'thumbnails.npy', 'index.json'])
def test_damaged_or_missing_files_are_named(tmp_path, name):
    random_index()[1].save(tmp_path / 'index')
    path = tmp_path / 'index' / name
    path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2 - 3])
    with pytest.raises(ValueError, match=f'{name} is damaged, build the index again'):
        ShapeIndex.load(tmp_path / 'index')
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f'is not an index of shapes: it has no {name}.*retrieve.py build'):
        ShapeIndex.load(tmp_path / 'index')


@pytest.mark.parametrize('name, content', [
    ('index.json', '[]'), ('index.json', '{"num_shapes": "200"}'), ('index.json', '[' * 100_000),
    ('config.json', '[]'), ('config.json', '{"model"'), ('shapes.jsonl', '[]\n' * 200), ('shapes.jsonl', '{}\n{')])
def test_files_with_other_contents_are_named(tmp_path, name, content):
    random_index()[1].save(tmp_path / 'index')
    (tmp_path / 'index' / name).write_text(content)
    with pytest.raises(ValueError, match=f'{name} is damaged, build the index again'):
        ShapeIndex.load(tmp_path / 'index')


def test_arrays_of_another_kind_are_named(tmp_path):
    random_index()[1].save(tmp_path / 'index')
    np.save(tmp_path / 'index/thumbnails.npy', np.zeros((200, 4, 6)))
    with pytest.raises(ValueError, match='thumbnails.npy is damaged.*it must hold uint8'):
        ShapeIndex.load(tmp_path / 'index')
    random_index()[1].save(tmp_path / 'index')
    faiss.write_index(faiss.IndexFlatL2(16), str(tmp_path / 'index/vectors.faiss'))
    with pytest.raises(ValueError, match='vectors.faiss is damaged.*IndexFlatL2 instead of an IndexFlatIP'):
        ShapeIndex.load(tmp_path / 'index')


def test_only_the_model_of_a_config_is_kept_and_only_as_json(tmp_path):
    index = random_index(3)[1]
    index.config = Config(dict(model=dict(type='M', size=(32, 32)), train_cfg=dict(odd=object())))
    index.save(tmp_path / 'index')
    assert ShapeIndex.load(tmp_path / 'index').config.to_dict() == dict(model=dict(type='M', size=[32, 32]))
    index.config = Config(dict(model=dict(type='M', odd=object())))
    with pytest.raises(ValueError, match='the config of the model has <object object.*which an index cannot keep'):
        index.save(tmp_path / 'index')
    assert ShapeIndex.load(tmp_path / 'index').config.model.size == [32, 32]


def test_files_of_two_indices_are_told_apart(tmp_path):
    random_index(200)[1].save(tmp_path / 'one')
    random_index(100)[1].save(tmp_path / 'two')
    (tmp_path / 'one/shapes.jsonl').write_text((tmp_path / 'two/shapes.jsonl').read_text())
    with pytest.raises(ValueError, match='shapes.jsonl is damaged.*it has 100 shapes, index.json says 200'):
        ShapeIndex.load(tmp_path / 'one')


def test_saving_replaces_an_index_and_nothing_else(tmp_path, monkeypatch):
    random_index(5)[1].save(tmp_path / 'index')
    random_index(6)[1].save(tmp_path / 'index')
    assert len(ShapeIndex.load(tmp_path / 'index')) == 6
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/a.jpg').write_text('precious')
    with pytest.raises(ValueError, match='photos exists and is not an index'):
        random_index(5)[1].save(tmp_path / 'photos')
    assert (tmp_path / 'photos/a.jpg').read_text() == 'precious'
    # A failure within: the old index stays.
    broken = random_index(7)[1]
    broken.about = dict(impossible=object())
    with pytest.raises(TypeError):
        broken.save(tmp_path / 'index')
    assert len(ShapeIndex.load(tmp_path / 'index')) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ['index', 'photos']


def test_without_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faiss', None)
    with pytest.raises(ImportError, match='retrieval needs FAISS: pip install faiss-cpu'):
        random_index(3)


@pytest.fixture
def compressed(tmp_path, monkeypatch):
    """Return 6000 vectors around 30 centers and their index, compressed as those of half a million shapes are."""
    monkeypatch.setattr(vectors_module, 'EXACT_BELOW', 6000)
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(30, 32))
    vectors = (centers[rng.integers(30, size=6000)] + .3 * rng.normal(size=(6000, 32))).astype(np.float32)
    shapes = [dict(sample_id=f'ä{row}') for row in range(6000)]
    index = ShapeIndex(vectors, shapes, np.arange(6000 * 4).astype(np.uint8).reshape(6000, 2, 2), {}, Config())
    index.save(tmp_path / 'index')
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), tmp_path / 'index'


def test_large_indices_are_compressed_and_tell_their_recall(compressed):
    vectors, folder = compressed
    index = ShapeIndex.load(folder)
    queries = vectors[:100] + .01
    cosines, rows = index.search(queries, 10)
    exact = queries @ vectors.T / np.linalg.norm(queries, axis=1, keepdims=True)
    expected = np.argsort(-exact, axis=1)[:, :10]
    recall = np.mean([len({*ours} & {*theirs}) / 10 for ours, theirs in zip(rows, expected)])
    assert recall >= .95 and abs(recall - index.about['recall_at_10']) < .05
    np.testing.assert_allclose(cosines, np.take_along_axis(exact, rows, axis=1), atol=1e-3)
    assert (np.diff(cosines) <= 0).all()
    assert index.describe().startswith('compressed search (IVF-PQ) among 6,000 shapes: finds ')
    assert random_index()[1].describe() == 'exact search among 200 shapes'
    assert index.shapes[5999] == dict(sample_id='ä5999') and index.shapes[-6000] == dict(sample_id='ä0')
    assert [shape['sample_id'] for shape in index.shapes[7:9]] == ['ä7', 'ä8'] and len(index.shapes) == 6000
    assert (index.thumbnails.reshape(-1) == np.arange(24_000).astype(np.uint8)).all()


def test_recall_of_an_index_that_misses_neighbors_is_low(compressed, monkeypatch):
    monkeypatch.setattr(vectors_module, '_COMPARED', 1)
    index = ShapeIndex.load(compressed[1])
    assert index._vectors.choose_cells(100) < .95


def test_compressed_indices_give_as_many_shapes_as_asked_for(compressed):
    vectors, folder = compressed
    cosines, rows = ShapeIndex.load(folder).search(vectors[:2], 7000)
    assert rows.shape == (2, 6000) and sorted(rows[0]) == list(range(6000)) and (np.diff(cosines) <= 0).all()


def test_compressed_indices_are_saved_again_the_same(compressed, tmp_path):
    ShapeIndex.load(compressed[1]).save(tmp_path / 'copy')
    for name in ('vectors.faiss', 'vectors.npy', 'shapes.jsonl', 'thumbnails.npy', 'index.json'):
        assert (tmp_path / 'copy' / name).read_bytes() == (compressed[1] / name).read_bytes(), name


@pytest.mark.parametrize('name', ['vectors.faiss', 'vectors.npy', 'shapes.jsonl', 'thumbnails.npy'])
def test_damaged_files_of_compressed_indices_are_named(compressed, name):
    path = compressed[1] / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match='is damaged, build the index again'):
        ShapeIndex.load(compressed[1])


def test_facts_of_compressed_indices_are_checked(compressed):
    path = compressed[1] / 'index.json'
    about = json.loads(path.read_text())
    path.write_text(json.dumps(dict(about, recall_sample='many')))
    with pytest.raises(ValueError, match='index.json is damaged.*needs vectors_bytes, recall_sample, recall_at_10'):
        ShapeIndex.load(compressed[1])
    path.write_text(json.dumps({key: about[key] for key in ('num_shapes', 'dimension')}))
    with pytest.raises(ValueError, match='vectors.faiss is damaged.*IndexIVFPQ instead of an IndexFlatIP'):
        ShapeIndex.load(compressed[1])
