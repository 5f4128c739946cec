"""Compiled functions where numba cannot cache them."""
import subprocess
import sys

from helpers.tool_modules import REPOSITORY

WITHOUT_CACHE = """
import sys, types
from numba.core import caching
caching.CacheImpl._locator_classes = []  # a read-only install without a writable home

parent = sys.modules['opendlign_mm'] = types.ModuleType('opendlign_mm')  # the package itself imports mmdet3d
parent.__path__ = [sys.argv[1]]
import torch
from opendlign_mm.point_ops import ball_query, furthest_point_sample
xyz = torch.tensor([[[0., 0, 0], [1, 0, 0], [5, 0, 0], [2, 0, 0]]])
print(furthest_point_sample(xyz, 3).tolist(), ball_query(xyz, xyz[:, 2:3], 4.5, 2).tolist())
from opendlign_mm.projection import ContourAwareProjection
print(ContourAwareProjection(resolution=16, depth_bins=8, view_angles=(0,))(xyz).shape)
"""


def test_a_read_only_install_compiles_without_a_cache():
    code = [sys.executable, '-c', WITHOUT_CACHE, str(REPOSITORY / 'opendlign_mm')]
    finished = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert finished.stdout.split('\n')[:2] == ['[[0, 2, 3]] [[[1, 2]]]', 'torch.Size([1, 1, 16, 16])'], finished.stderr
