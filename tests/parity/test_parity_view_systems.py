"""PointCLIP, PointCLIP V2 and CLIP2Point against the outputs of their released code on stand-in weights."""
import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from opendlign_mm.projection import PointCLIPProjection, RenderedDepthProjection


@pytest.fixture(scope='module')
def fixture(shared_dir):
    if not (shared_dir / 'parity/baselines').is_dir():
        pytest.skip(f'no outputs of compared systems in {shared_dir}/parity/baselines')
    spec = importlib.util.spec_from_file_location('parity_weights', shared_dir / 'parity/weights.py')
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)

    def load(name):
        facts = json.loads((shared_dir / f'parity/baselines/{name}.json').read_text())
        with np.load(shared_dir / f'parity/baselines/{name}.npz') as arrays:
            return SimpleNamespace(facts=facts, weights=weights,
                                   arrays={key: torch.from_numpy(arrays[key]) for key in arrays.files})

    return load


def close(ours, expected, noise):
    torch.testing.assert_close(ours.detach().float(), expected, rtol=0, atol=10 * noise)


def y_up_to_z_up(points):
    x, y, z = points.unbind(-1)
    return torch.stack((x, -z, y), -1)


# --- projections ------------------------------------------------------------------------------------------------------

def test_pointclip_projection(shared_dir):
    data = np.load(shared_dir / 'parity' / 'released' / 'projections.npz')
    project = PointCLIPProjection(normalize=False, output_resolution=None)
    depth_views = project(y_up_to_z_up(torch.from_numpy(data['points']))[None])[0]
    close(depth_views * 2 * project.distance, torch.from_numpy(data['pointclip']), 1e-7)


@pytest.mark.parametrize('backend', ['numba', 'torch'])
@pytest.mark.parametrize('views, yaw', [(10, 90), (6, 0)])
def test_clip2point_rendering(fixture, backend, views, yaw):
    """The ten views are those of data with z up, as ModelNet40; the six those of data with y up."""
    arrays = fixture('clip2point').arrays
    points = arrays['points'] if views == 10 else y_up_to_z_up(arrays['points'])
    project = RenderedDepthProjection('few_shot' if views == 10 else 'zero_shot', yaw=yaw, backend=backend)
    depth_views = project(points)
    close(depth_views[:, :, 2::6, 2::6], arrays[f'depth_{views}'], 1.5e-7)
    close(depth_views.mean((2, 3)), arrays[f'depth_{views}_mean'], 1.5e-7)
    assert torch.equal((depth_views < 1).sum((2, 3)), arrays[f'depth_{views}_filled'])
