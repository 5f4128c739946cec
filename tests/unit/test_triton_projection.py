"""The Triton backend of the projection: interpreted on a CPU, compiled for GPUs, and run where CUDA is present."""
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.interpreted_triton import CASES, arguments_of, clouds_of
from helpers.tool_modules import REPOSITORY
from opendlign_mm.projection import ContourAwareProjection, triton_backend, view_axes
from opendlign_mm.projection.torch_backends import scatter_nearest
from opendlign_mm.projection.triton_backend import batches, columns_near, filled_columns, padded
from opendlign_mm.projection.views import VoxelizedPoints, normalized_if_needed, voxelize

SMALL = dict(resolution=12, depth_bins=6, densify_kernel=3, smooth_kernel=3, view_angles=(30, 60))


@pytest.fixture(scope='module')
def interpreted(tmp_path_factory):
    pytest.importorskip('triton')
    path = tmp_path_factory.mktemp('interpreted') / 'views.npz'
    done = subprocess.run([sys.executable, str(REPOSITORY / 'tests/helpers/interpreted_triton.py'), str(path)],
                          env=dict(os.environ, TRITON_INTERPRET='1'), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(path) as views:
        return {case: torch.from_numpy(views[case]) for case in views}


@pytest.mark.parametrize('case', CASES)
def test_interpreted_kernels_equal_the_other_backends(interpreted, case):
    views, clouds = interpreted[case], clouds_of(case)
    dense = ContourAwareProjection(**arguments_of(case), backend='dense')(clouds)
    assert (views - dense).abs().max() < 1e-5
    assert (views - ContourAwareProjection(**arguments_of(case), backend='numba')(clouds)).abs().max() <= 2 / 255
    assert (views < 1).float().mean() > .05


@pytest.fixture
def without_kernels(monkeypatch):
    """Let the CPU run everything of the backend but its kernels; the views are empty."""
    monkeypatch.setattr(ContourAwareProjection, 'backend_for', lambda self, device: 'triton')
    monkeypatch.setattr(triton_backend, '_densified', lambda columns, reach, resolution: columns)
    monkeypatch.setattr(triton_backend, '_filtered', lambda *arguments: torch.ones(*arguments[-1]))
    return ContourAwareProjection(**SMALL, backend='triton')


def test_the_host_waits_once_for_a_batch(without_kernels, monkeypatch):
    waits = []
    for name in ('tolist', 'item', '__int__', '__bool__', '__float__', 'nonzero', 'numpy', 'cpu'):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *arguments, name=name, original=original: (
            waits.append(name), original(self, *arguments))[1])
    assert without_kernels([torch.rand(count, 3) for count in (5, 9, 9)]).shape == (3, 2, 12, 12)
    assert waits == ['tolist']


def test_points_that_are_not_finite_are_counted_in_the_cloud_that_was_given(without_kernels):
    bad = torch.rand(8, 3)
    bad[0, 1], bad[5, 2] = float('nan'), float('inf')
    with pytest.raises(ValueError, match='cloud 2 has 2 of 8 points'):
        without_kernels([torch.zeros(0, 3), torch.rand(20, 3), bad])
    assert without_kernels(torch.zeros(2, 0, 3)).shape == (2, 2, 12, 12)
    assert without_kernels([]).shape == (0, 2, 12, 12)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr('opendlign_mm.projection.contour_aware.find_spec', lambda name: None)
    with pytest.raises(ImportError, match='pip install triton'):
        ContourAwareProjection(backend='triton').backend_for(torch.device('cuda'))


def test_shorter_clouds_repeat_their_first_point():
    stacked = padded([torch.tensor([[1., 2, 3]]), torch.tensor([[4., 5, 6], [7, 8, 9]])])
    assert stacked.tolist() == [[[1, 2, 3], [1, 2, 3]], [[4, 5, 6], [7, 8, 9]]]


def test_batches_keep_the_order_and_bound_the_pixels(monkeypatch):
    monkeypatch.setattr(triton_backend, 'BATCH_PIXELS', 2 * 2 * 16)  # two clouds of two views of 4 x 4 pixels
    clouds = [torch.rand(count, 3) for count in (3, 5, 2)]
    clouds.append(torch.rand(4, 3, dtype=torch.float64))
    assert [[len(cloud) for cloud in batch] for batch in batches(clouds, 2, 4)] == [[3, 5], [2], [4]]
    clouds[0] = torch.rand(100, 3)  # more points than pixels
    assert [len(batch) for batch in batches(clouds, 2, 4)] == [1, 1, 1, 1]


def test_voxels_of_a_batch_are_those_of_each_cloud():
    axes = view_axes((30, 200), 20., 'cpu')
    clouds = [torch.rand(6, 3), torch.rand(6, 3) + 1e5, torch.zeros(6, 3), torch.rand(6, 3) * 1e-20]
    together = voxelize(torch.stack(clouds), axes, 12, 6, .8, .2)
    for index, cloud in enumerate(clouds):
        for name, values in vars(voxelize(cloud, axes, 12, 6, .8, .2)).items():
            assert torch.equal(getattr(together, name)[index], values)
        assert torch.equal(normalized_if_needed(torch.stack(clouds))[index], normalized_if_needed(cloud))


def test_columns_hold_what_the_full_grid_holds():
    generator = torch.Generator().manual_seed(1)
    row, column = torch.randint(9, (2, 2, 30), generator=generator)
    voxels = VoxelizedPoints(row, column, torch.randint(5, (2, 30), generator=generator),
                             torch.rand(2, 30, generator=generator))
    near, order = columns_near(voxels, 9, 0)
    assert torch.equal(near, scatter_nearest(voxels, 9, 5).amax(1) > 0)
    columns = filled_columns(voxels, near, order, int(order[-1]), 5)
    assert torch.equal(columns.values, scatter_nearest(voxels, 9, 5).permute(0, 2, 3, 1)[near])
    assert torch.equal(columns.pixels, near.flatten().nonzero().squeeze(1))
    assert columns.slots[columns.pixels].tolist() == list(range(1, len(columns.pixels) + 1))
    assert int((columns.slots > 0).sum()) == len(columns.pixels)


def test_pixels_near_a_point_lie_in_a_square_inside_the_image():
    one = VoxelizedPoints(*torch.tensor([[[1]], [[4]], [[0]]]), torch.ones(1, 1))
    near, order = columns_near(one, 6, 2)
    assert near[0].nonzero().tolist() == [[i, j] for i in range(4) for j in range(2, 6)] and order[-1] == 16


@pytest.mark.parametrize('capability', [80, 90])
def test_kernels_compile_for_gpus(capability, tmp_path, monkeypatch):
    """Without a GPU: PTX and machine code."""
    triton = pytest.importorskip('triton')
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    kernels = importlib.import_module('opendlign_mm.projection.triton_kernels')
    if not hasattr(kernels.dilate, 'arg_names'):
        pytest.skip('TRITON_INTERPRET is set')
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    types = dict(columns='*fp32', out='*fp32', tops='*i32', slots='*i32', pixels='*i64', count='i32', views='*fp32',
                 space='fp32', precision='fp32')
    constants = dict(size=224, depth=64, reach=3, axis=2, block=16, lanes=64, pad=2, neighbors=32)
    for kernel in (kernels.dilate, kernels.filter_runs, kernels.filter_all):
        names = kernel.arg_names
        source = ASTSource(kernel, {name: types.get(name, 'constexpr') for name in names},
                           {(names.index(name), ): value for name, value in constants.items() if name in names})
        assert len(triton.compile(source, target=GPUTarget('cuda', capability, 32)).asm['cubin']) > 1000


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_triton_equals_dense_on_cuda():
    pytest.importorskip('triton')
    clouds = [torch.rand(count, 3, device='cuda') for count in (3000, 500, 1)] + [torch.zeros(0, 3, device='cuda')]
    for settings in ({}, dict(sigma_intensity=.5), dict(smooth_kernel=7, densify_kernel=1)):
        arguments = {**SMALL, **settings, 'resolution': 56}
        views = ContourAwareProjection(**arguments, backend='triton')(clouds)
        difference = (views - ContourAwareProjection(**arguments, backend='dense')(clouds)).abs()
        assert views.is_cuda and difference.max() <= 2 / 255
