"""Fixtures that several test files use."""
import os
from pathlib import Path

import pytest
import torch
from mmengine.visualization import Visualizer

from helpers.light_process import keep_what_is_imported, lighten_process
from helpers.tiny_clip import tiny_clip
from helpers.tool_modules import REPOSITORY

lighten_process()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--fuzz-examples', type=int, metavar='N', help='damages of each file in test_reader_fuzz.py, '
                     'random ones; default: a few, the same in each run')


@pytest.fixture
def fuzz_examples(request) -> int | None:
    """The number of examples that was asked for; None: few, the same in each run."""
    return request.config.getoption('--fuzz-examples')


@pytest.fixture(scope='module', autouse=True)
def what_a_file_imports_is_kept():
    """Forget for good what the tests of a file have imported; see :func:`lighten_process`."""
    yield
    keep_what_is_imported()


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Return the folder of reference data: $OPENDLIGN_SHARED, or ``shared`` next to the repository."""
    folder = Path(os.environ.get('OPENDLIGN_SHARED', REPOSITORY.parent / 'shared'))
    if not folder.is_dir():
        pytest.skip(f'no reference data at {folder}; set OPENDLIGN_SHARED to its folder')
    return folder


@pytest.fixture(autouse=True)
def no_visualizer_of_another_test():
    """Forget visualizers: mmengine keeps them by name, and a later run would log into the files of an earlier one."""
    yield
    kinds = [Visualizer]
    while kinds:
        kind = kinds.pop()
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()


@pytest.fixture
def tiny_clip_config() -> dict:
    """Return an open_clip model configuration small enough for a test: 32 x 32 images, 16 patches, 3 blocks."""
    return tiny_clip(embed_dim=48, width=64, layers=3, text_layers=2)


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason='no CUDA device'))])
def device(request) -> torch.device:
    """Return each available device."""
    return torch.device(request.param)
