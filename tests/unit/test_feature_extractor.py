"""FeatureExtractor: one vector of each shape, in memory and in files."""
import json

import numpy as np
import pytest
import torch

from helpers.tiny_inferencers import WORDS, shape_config, shape_inferencer, shapes
from opendlign_mm.apis import FeatureExtractor


@pytest.fixture(scope='module')
def embed():
    return FeatureExtractor(shape_config(), device='cpu', show_progress=False)


def test_embeddings_are_those_of_the_model_and_of_the_classifier(embed):
    clouds = shapes()
    found = embed(clouds, batch_size=2)
    views = embed.projection([torch.from_numpy(cloud) for cloud in clouds])
    assert np.allclose(found['embeddings'], embed.model.embed_shapes(views), atol=1e-5)
    classified = shape_inferencer()(clouds, WORDS, embed=True)['predictions']
    assert np.allclose(found['embeddings'], [each['embedding'] for each in classified], atol=1e-5)


def test_files_have_the_names_of_their_rows_and_the_errors(embed, tmp_path):
    clouds = shapes()
    inputs = [clouds[0], 'no/such.ply', clouds[1]]
    found = embed(inputs, out_file=tmp_path / 'features.npy')
    assert np.array_equal(np.load(tmp_path / 'features.npy'), found['embeddings']) and len(found['embeddings']) == 2
    about = json.loads((tmp_path / 'features.json').read_text())
    assert about['inputs'] == found['inputs'] == ['input 1', 'input 3'] and 'no/such.ply' in about['errors']
    parquet = pytest.importorskip('pyarrow.parquet')
    embed(inputs, out_file=tmp_path / 'features.parquet')
    rows = parquet.read_table(tmp_path / 'features.parquet').to_pylist()
    assert [row['input'] for row in rows] == ['input 1', 'no/such.ply', 'input 3'] and rows[1]['embedding'] is None
    assert np.array_equal(np.float32(rows[2]['embedding']), found['embeddings'][1]) and rows[2]['error'] is None
    assert embed(['no/such.ply'])['embeddings'].shape == (0, embed.model.backbone.embed_dim)


def test_other_endings_are_refused(embed):
    with pytest.raises(ValueError, match='features.txt'):
        embed(shapes(), out_file='features.txt')
