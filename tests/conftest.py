"""Fixtures that several test files use."""
import os
from pathlib import Path

import pytest
import torch
from mmengine.visualization import Visualizer

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """The folder of reference data: $OPENDLIGN_SHARED, or ``shared`` beside the repository."""
    folder = Path(os.environ.get('OPENDLIGN_SHARED', REPOSITORY.parent / 'shared'))
    if not folder.is_dir():
        pytest.skip(f'no reference data at {folder}; set OPENDLIGN_SHARED to its folder')
    return folder


@pytest.fixture(autouse=True)
def no_visualizer_of_another_test():
    """mmengine keeps visualizers by name for the life of the process: a later run would log into an earlier one's."""
    yield
    kinds = [Visualizer]
    while kinds:
        kind = kinds.pop()
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()


@pytest.fixture
def tiny_clip_config() -> dict:
    """An open_clip model configuration small enough for a test: 32 x 32 images, 16 patches, 3 blocks."""
    return dict(
        embed_dim=48,
        vision_cfg=dict(image_size=32, patch_size=8, width=64, layers=3, head_width=32),
        text_cfg=dict(context_length=77, vocab_size=49408, width=64, heads=2, layers=2))


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason='no CUDA device'))])
def device(request) -> torch.device:
    """Each device that is there."""
    return torch.device(request.param)
