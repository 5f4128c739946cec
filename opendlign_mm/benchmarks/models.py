"""Models and inputs that several suites measure: CLIPs with random weights, depth views, objects."""
from functools import cache

import numpy as np
import torch
from mmengine.registry import init_default_scope

from ..datasets.procedural import CATEGORIES, sample_shape
from ..models import CLIPDepthBackbone, DepthImageContrastiveHead, OpenDlign, ZeroShotHead
from ..models.precision import Precision
from .measuring import Settings

NUM_VIEWS = 10
# A CLIP of a few thousand parameters, to see whether a suite runs.
_QUICK = dict(embed_dim=32, vision_cfg=dict(image_size=32, patch_size=8, width=32, layers=2, head_width=16),
              text_cfg=dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=1))


def random_model(clip: str, precision: Precision, settings: Settings) -> OpenDlign:
    """Return an OpenDlign with random weights, the same for each precision, in evaluation mode.

    A large one has other weights on a GPU, which draws them in a tenth of the time, than on the CPU.
    """
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    with torch.device('cpu' if settings.quick else settings.device), torch.no_grad():
        backbone = CLIPDepthBackbone(
            f'quick-{clip}' if settings.quick else clip, None, _QUICK if settings.quick else None,
            pixel_mean='imagenet', pixel_std='imagenet', precision=precision)
        for parameter in backbone.tuned_blocks.parameters():  # as after training: the copy is not its origin
            parameter.add_(.02 * torch.randn(parameter.shape))
    head = ZeroShotHead(CATEGORIES, ['a {}'])
    return OpenDlign(backbone, DepthImageContrastiveHead(), head).to(settings.device).eval()


def random_views(model: OpenDlign, objects: int, channels: int | None = None) -> torch.Tensor:
    """Return views in [0, 1] for a model: float32 (objects, 10, H, W), or (objects, 10, channels, H, W)."""
    shape = (objects, NUM_VIEWS, *([] if channels is None else [channels]), *model.backbone.image_size)
    generator = torch.Generator().manual_seed(1)
    return torch.rand(shape, generator=generator).to(model.backbone.logit_scale.device)


@cache
def cloud(points: int, device: torch.device, category: str = 'chair', seed: int = 0) -> torch.Tensor:
    """Return the points of a built-in object, float32 (1, N, 3)."""
    return torch.from_numpy(sample_shape(category, np.random.default_rng(seed), points).points)[None].to(device)
