"""Point encoders against the outputs of the released code on stand-in weights."""
import importlib.util
import json

import numpy as np
import pytest
import torch

from helpers.parity import stand_in_state, stand_in_weights
from opendlign_mm.point_encoders import PointBERT, PointPatchTransformer, SparseResNet
from opendlign_mm.point_encoders.released import from_released_encoder, to_released_encoder
from opendlign_mm.point_encoders.sparse_conv import SparseConv3d
from opendlign_mm.point_encoders.voxel_grid import VoxelGrid
from opendlign_mm.point_ops import furthest_point_sample

SPCONV = importlib.util.find_spec('spconv') is not None


class Fixture:
    """Facts and arrays of one system, and its stand-in weights."""

    def __init__(self, folder, name):
        self.weights = stand_in_weights(folder)
        self.facts = json.loads((folder / f'parity/baselines/{name}.json').read_text())
        with np.load(folder / f'parity/baselines/{name}.npz') as arrays:
            self.arrays = {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    def load(self, encoder, facts, rescale=False):
        state = stand_in_state(self.weights, facts, rescale)
        converted, left_out = from_released_encoder({f'module.{key}': value for key, value in state.items()}, encoder)
        assert not left_out
        encoder.load_state_dict(converted)
        back = to_released_encoder(encoder, '')
        assert back.keys() == state.keys() and all(torch.equal(back[key], state[key]) for key in state)
        return encoder.eval()


def close(ours, expected, noise):
    torch.testing.assert_close(ours.detach().float(), expected, rtol=0, atol=10 * noise)


@pytest.fixture
def fixture(shared_dir):
    return lambda name: Fixture(shared_dir, name)


@torch.no_grad()
def test_ulip(fixture):
    ulip = fixture('ulip_pointbert')
    encoder, noise = ulip.load(PointBERT(), ulip.facts), ulip.facts['noise']
    points = ulip.arrays['points']
    close(encoder.features(points), ulip.arrays['feature'], noise['feature'])
    close(encoder(points), ulip.arrays['embedding'], noise['embedding'])
    close(encoder(list(points)), ulip.arrays['embedding'], noise['embedding'])
    assert torch.equal(furthest_point_sample(points, 512, True), ulip.arrays['fps_index'].long())
    groups = encoder.group(list(points))[1]
    close(encoder.group_encoder(groups)[:, ::32, ::4], ulip.arrays['tokens'], noise['feature'])


@torch.no_grad()
def test_ulip_2_with_colors(fixture):
    ulip = fixture('ulip_pointbert')
    facts = ulip.facts['colored']
    encoder = ulip.load(PointBERT(in_channels=6, depth=18, out_channels=1280), facts)
    close(encoder(ulip.arrays['points'], ulip.arrays['rgb']), ulip.arrays['colored_embedding'], facts['noise'])


@torch.no_grad()
@pytest.mark.parametrize('name, scaling, out_channels', [('g14', 4, 1280), ('l14', 'l14', 768)])
def test_openshape_pointbert(fixture, name, scaling, out_channels):
    openshape = fixture('openshape_pointbert')
    facts, arrays = openshape.facts[name], openshape.arrays
    encoder = openshape.load(PointPatchTransformer(scaling, out_channels), facts)
    points, colors = arrays['points'], arrays['rgb']
    close(encoder(points, colors), arrays[f'{name}_embedding'], facts['noise'])
    close(encoder.class_token(points, colors), arrays[f'{name}_class_token'], facts['noise'])
    centers, patches = encoder.patches(list(torch.cat([points, colors], dim=2)))
    assert torch.equal(centers.transpose(1, 2)[:, :, ::16], arrays[f'{name}_centers'])
    close(patches.transpose(1, 2)[:, ::8, ::16], arrays[f'{name}_patch'], facts['noise'])
    # The second cloud has no colors: gray 0.4 is filled in.
    close(encoder(points[1:]), arrays[f'{name}_embedding'][1:], facts['noise'])


@torch.no_grad()
@pytest.mark.parametrize('engine', ['torch', pytest.param('spconv', marks=pytest.mark.skipif(
    not SPCONV, reason='spconv is not installed'))])
def test_openshape_sparse_conv(fixture, engine):
    openshape = fixture('openshape_sparseconv')
    facts, arrays = openshape.facts, openshape.arrays
    encoder = openshape.load(SparseResNet(engine=engine), facts, rescale=True)
    outputs = {}
    names = {'conv0p1s1': encoder.stem.conv, 'conv5': encoder.joint[1],
             **{f'block{index + 1}': stage[-1] for index, stage in enumerate(encoder.stages)}}
    for name, module in names.items():
        module.register_forward_hook(
            lambda _, inputs, output, name=name: outputs.update({name: (*output, ) if isinstance(output, tuple) else (
                output, inputs[1])}))
    embedding = encoder([arrays['points_0'], arrays['points_1']], [arrays['rgb_0'], arrays['rgb_1']])
    close(embedding, arrays['embedding'], facts['noise'])
    for name, (features, grid) in outputs.items():
        assert torch.bincount(grid.coordinates[:, 0]).tolist() == arrays[f'{name}_count'].tolist()
        step = 9 if len(features) >= 250 else 1
        assert torch.equal(grid.coordinates[::step].int(), arrays[f'{name}_coords'])
        close(features[::step, ::16], arrays[f'{name}_features'], facts['noise'])


@pytest.mark.parametrize('engine', ['torch', pytest.param('spconv', marks=pytest.mark.skipif(
    not SPCONV, reason='spconv is not installed'))])
@pytest.mark.parametrize('kernel, stride', [(5, 1), (3, 1), (2, 2), (3, 2)])
def test_one_convolution_of_each_kind(fixture, engine, kernel, stride):
    openshape = fixture('openshape_sparseconv')
    arrays, name = openshape.arrays, f'conv_k{kernel}s{stride}'
    coordinates = arrays['conv_in_coords'].long()
    grid = VoxelGrid(coordinates, 1, int(coordinates[:, 0].max()) + 1)
    assert torch.equal(grid.find(coordinates), torch.arange(len(coordinates)))
    layer = SparseConv3d(4, 3, kernel, stride, engine)
    layer.kernel.data = openshape.weights.tensor(
        f'k{kernel}s{stride}.kernel', (kernel**3, 4, 3), openshape.facts['seed'])
    features, outputs = layer(arrays['conv_in_features'], grid)
    assert torch.equal(outputs.coordinates.int(), arrays[f'{name}_coords'])
    close(features, arrays[f'{name}_features'], 1e-6)
