"""Projects clouds by the Triton backend without a GPU: its kernels are interpreted, as slowly as Python is.

Run as a program, since Triton reads TRITON_INTERPRET when it is imported, with the file to write, arrays by name.
"""
import os
import sys
import types
from pathlib import Path

import numpy as np
import torch

# Small: interpreting a column takes 15 ms. Between them: both filters, columns without a surface that need more than
# one piece of 14 depths, runs whose largest value is not the nearest, neighbors beyond one piece of 32, kernels of one
# voxel, values of 0, depths that are no power of two.
CASES = dict(
    runs=dict(resolution=8, depth_bins=40, densify_kernel=3, smooth_kernel=3, sigma_intensity=.15, depth_bias=.1),
    wide=dict(resolution=5, depth_bins=8, densify_kernel=1, smooth_kernel=7, sigma_space=3., view_angles=(0, 70)),
    all_depths=dict(resolution=5, depth_bins=20, densify_kernel=3, smooth_kernel=3, sigma_intensity=.5, depth_bias=0.),
    single_voxels=dict(resolution=8, depth_bins=4, densify_kernel=1, smooth_kernel=1))


def arguments_of(case):
    return {**dict(view_angles=(30, ), elevation=20., object_ratio=1.), **CASES[case]}


def clouds_of(case):
    """Return clouds of several lengths, one empty, one in map coordinates."""
    few, many = (torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) for count in (3, 5))
    if case != 'runs':
        return [few, many]
    return [few, torch.zeros(0, 3), few.double() + torch.tensor([1e6, -2e6, 0.], dtype=torch.float64)]


def main():
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    package = sys.modules['opendlign_mm'] = types.ModuleType('opendlign_mm')  # the package itself imports mmdet3d
    package.__path__ = [str(Path(__file__).resolve().parents[2] / 'opendlign_mm')]
    from opendlign_mm.projection import ContourAwareProjection
    ContourAwareProjection.backend_for = lambda self, device: 'triton'
    np.savez(sys.argv[1], **{case: ContourAwareProjection(**arguments_of(case), backend='triton')(clouds_of(case))
                             for case in CASES})


if __name__ == '__main__':
    assert os.environ['TRITON_INTERPRET'] == '1'
    main()
