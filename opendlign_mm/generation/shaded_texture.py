"""Procedural images of depth views: a stand-in for the diffusion model that needs no weights."""
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor

from .random_parameters import Bound, RandomParameters, SeededParameters


@MODELS.register_module()
class ShadedTextureGenerator:
    """Generator of images of the depth views with random light, material and background.

    The image of a seed does not depend on the other images of a batch.

    Args:
        clutter: Variation of background, texture and light in [0, 1]; 0 gives plain objects on a light background.

    Raises:
        ValueError: ``clutter`` is outside [0, 1].
    """

    def __init__(self, clutter: float = 1.) -> None:
        if not 0 <= clutter <= 1:
            raise ValueError(f'clutter must lie in [0, 1], got {clutter}')
        self.clutter = float(clutter)

    def __call__(self, depth_views: Tensor, seeds: Sequence[int], colors: np.ndarray | None = None,
                 prompts: Sequence | None = None) -> Tensor:
        """Make one image of each depth view.

        Args:
            depth_views: float (N, H, H) in [0, 1], background white, near is dark.
            seeds: N integers >= 0, one for each image.
            colors: Array (N, 2, 3), RGB in [0, 255]: the two main colors of each object. Default: random colors.
            prompts: Ignored; a stand-in for a diffusion model gets its prompts.

        Returns:
            uint8 (N, H, H, 3), RGB, on the CPU.

        Raises:
            ValueError: The shapes do not fit together.
        """
        if depth_views.dim() != 3 or depth_views.shape[1] != depth_views.shape[2]:
            raise ValueError(f'depth_views must have shape (N, H, H), got {tuple(depth_views.shape)}')
        if len(seeds) != len(depth_views) or colors is not None and np.shape(colors) != (len(seeds), 2, 3):
            raise ValueError(
                f'{len(depth_views)} depth views need one seed each (got {len(seeds)}) and colors of shape (N, 2, 3) '
                f'(got {None if colors is None else np.shape(colors)})')
        if not len(seeds):
            return torch.zeros(0, *depth_views.shape[1:], 3, dtype=torch.uint8)
        own = None if colors is None else torch.from_numpy(np.array(colors, dtype=np.float32)) / 255
        image = paint(depth_views.detach().float().cpu(), SeededParameters(seeds), self.clutter, own)
        return (image * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def paint(depth: Tensor, draw: RandomParameters, clutter: Bound = 1., colors: Tensor | None = None) -> Tensor:
    """Paint an image of each depth view.

    Args:
        depth: float32 (N, H, H) in [0, 1], background white, near is dark.
        draw: Random parameters of N images, on the device of ``depth``.
        clutter: Variation of background, texture and light in [0, 1], of all images or of each, (N, 1, 1).
        colors: float32 (N, 2, 3) in [0, 1]: the two main colors of each object. Default: random colors.

    Returns:
        float32 (N, 3, H, H) in [0, 1], RGB.
    """
    solid = _blur((depth < .999).float(), 3)
    light = _light(depth, draw)
    surface = _surface(depth.shape[-1], draw, clutter, colors)
    ground = _ground(depth.shape[-1], draw, clutter)
    shadow = 1 - draw.uniform(0, .6 * clutter) * _blur(_shift(solid, 4, 6), 9)
    image = torch.lerp(ground * shadow[:, None], (surface * light[:, None]).clamp(0, 1), solid[:, None])
    return _camera(image, draw, clutter)


def _light(depth: Tensor, draw: RandomParameters) -> Tensor:
    """Return Lambertian shading with some ambient light: factors (N, H, W) around 1."""
    height = _blur(1 - depth, 3) * depth.shape[-1] * .35
    slope_x = F.pad(height[:, :, 2:] - height[:, :, :-2], (1, 1)).clamp(-2, 2)
    slope_y = F.pad(height[:, 2:] - height[:, :-2], (0, 0, 1, 1)).clamp(-2, 2)
    azimuth, tilt = draw.uniform(0, 2 * np.pi), draw.uniform(.3, 1.1)
    direction = torch.cos(azimuth) * torch.sin(tilt), torch.sin(azimuth) * torch.sin(tilt), torch.cos(tilt)
    facing = (direction[2] - direction[0] * slope_x - direction[1] * slope_y) / (
        1 + slope_x.square() + slope_y.square()).sqrt()
    ambient = draw.uniform(.3, .6)
    return ambient + (1.25 - ambient) * facing.clamp(0)


def _surface(size: int, draw: RandomParameters, clutter: Bound, colors: Tensor | None) -> Tensor:
    """Return the albedo of the object, its colors mixed by a random pattern: (N, 3, H, W)."""
    first, second = draw.color(.05, .95), draw.color(.05, .95)
    if colors is not None:
        own = colors[..., None, None]
        repaint = (draw.uniform(0, 1) < .35 * clutter).float()[..., None]
        first, second = (torch.lerp(own[:, k], random, repaint) for k, random in ((0, first), (1, second)))
    pattern = _pattern(size, draw)
    strength = draw.uniform(0, .3 + .6 * clutter)
    return torch.lerp(first.expand(-1, -1, size, size), second.expand(-1, -1, size, size),
                      (pattern * strength)[:, None])


def _ground(size: int, draw: RandomParameters, clutter: Bound) -> Tensor:
    """Return the background, a patterned wall and floor, paler with less clutter: (N, 3, H, W)."""
    wall, floor, accent = draw.color(0, 1), draw.color(0, 1), draw.color(0, 1)
    horizon = draw.uniform(.35, 1.15) * size  # below the frame: no visible floor
    rows = torch.arange(size, dtype=torch.float32, device=horizon.device)[None, :, None]
    is_floor = torch.sigmoid((rows - horizon) * draw.uniform(.1, 3))[:, None]
    ground = torch.lerp(wall.expand(-1, -1, size, size), floor.expand(-1, -1, size, size), is_floor)
    pattern = _pattern(size, draw)
    ground = torch.lerp(ground, accent.expand_as(ground), (pattern * draw.uniform(0, .9))[:, None])
    palest = (2 * clutter).clamp(max=1) if isinstance(clutter, Tensor) else min(1., 2 * clutter)
    pale = draw.uniform(clutter**2, palest)
    return torch.lerp(torch.full_like(ground, .97), ground, pale[..., None])


def _pattern(size: int, draw: RandomParameters) -> Tensor:
    """Return a mixture of noise, grain and stripes in [0, 1]: (N, H, W)."""
    coarse, fine = value_noise(draw, size, 5), value_noise(draw, size, 28)
    grain = value_noise(draw, size, 40, stretch=10)
    stripes = waves(size, draw.uniform(0, np.pi).flatten(), draw.uniform(5, 36).flatten(),
                    draw.uniform(0, 1).flatten(), draw.uniform(0, 1).flatten())
    cross = waves(size, draw.uniform(0, np.pi).flatten(), draw.uniform(5, 36).flatten(),
                  draw.uniform(0, 1).flatten(), draw.uniform(0, 1).flatten())
    kinds = torch.stack((coarse, fine, grain, stripes, (stripes - cross).abs()), 1)
    weights = draw.mixture(kinds.shape[1])
    return (kinds * weights[..., None, None]).sum(1)


def _camera(image: Tensor, draw: RandomParameters, clutter: Bound) -> Tensor:
    """Apply exposure, soft focus and sensor noise."""
    exposure = draw.uniform(1 - .3 * clutter, 1 + .3 * clutter)[..., None]
    image = image * exposure
    soft = (draw.uniform(0, 1) < .3).float()[..., None]
    image = torch.lerp(image, _blur(image.flatten(0, 1), 3).view_as(image), soft)
    noise = draw.grain(image.shape[-1]) * draw.uniform(0, .06 * clutter)
    return (image + noise[:, None]).clamp_(0, 1)


def _blur(images: Tensor, kernel: int) -> Tensor:
    """Box blur of (N, H, W) with repeated borders; separable sums are faster than avg_pool2d on a CPU."""
    pad = kernel // 2
    height, width = images.shape[1:]
    padded = F.pad(images[:, None], (pad,) * 4, mode='replicate')[:, 0]
    rows = sum(padded[:, k:k + height] for k in range(kernel))
    return sum(rows[:, :, k:k + width] for k in range(kernel)) / kernel**2


def _shift(images: Tensor, right: int, down: int) -> Tensor:
    """Shift (N, H, W) by pixels, filling with zeros."""
    return F.pad(images, (right, -right, down, -down))


def value_noise(draw: RandomParameters, size: int, cells: int, stretch: int = 1) -> Tensor:
    """Return smooth noise in [0, 1]: random values on a ``cells`` x ``cells / stretch`` lattice, interpolated.

    Args:
        draw: Random parameters of N images.
        size: Height and width in pixels.
        cells: Number of lattice cells along the width; more means finer.
        stretch: Ratio of length to width of the grain (wood, brushed metal).

    Returns:
        float32 (N, size, size).
    """
    rows = max(cells // stretch, 2)
    lattice = draw.lattice(rows, max(cells, 2))
    return F.interpolate(lattice[:, None], (size, size), mode='bilinear', align_corners=False)[:, 0]


def waves(size: int, angle: Tensor, period: Tensor, phase: Tensor, sharp: Tensor) -> Tensor:
    """Return stripes in [0, 1], float (N, size, size).

    Args:
        size: Height and width in pixels.
        angle: Direction across the stripes in radians, (N,).
        period: Period in pixels, (N,).
        phase: Offset in periods, (N,).
        sharp: Sharpness of the edges in [0, 1], (N,).
    """
    axis = torch.arange(size, dtype=torch.float32, device=angle.device)
    along = (axis[None, None, :] * torch.cos(angle)[:, None, None] +
             axis[None, :, None] * torch.sin(angle)[:, None, None])
    wave = torch.sin(2 * np.pi * (along / period[:, None, None] + phase[:, None, None]))
    return .5 + .5 * torch.tanh(wave * (1 + 8 * sharp[:, None, None])) / torch.tanh(1 + 8 * sharp[:, None, None])
