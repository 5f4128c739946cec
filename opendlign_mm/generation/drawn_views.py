"""Procedural images of stored depth views, drawn once for many passes of a training."""
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ..datasets.random_views import StoredViews
from .random_parameters import BatchParameters
from .shaded_texture import ShadedTextureGenerator, paint


def draw_images(objects: StoredViews, clutter: tuple[float, float], seed: int, desc: str) -> np.ndarray:
    """Return images uint8 (N, V, 3, H, H) of all views, each chunk of 64 with a random clutter of the given range."""
    n, views, *size = objects.depth.shape
    depth, colors = objects.depth.reshape(-1, *size), np.repeat(objects.colors, views, axis=0)
    images = np.empty((len(depth), 3, *size), dtype=np.uint8)
    rng = np.random.default_rng(seed)
    for start in tqdm(range(0, len(depth), 64), desc=desc, leave=False):
        part = slice(start, start + 64)
        generator = ShadedTextureGenerator(clutter=float(rng.uniform(*clutter)))
        chunk = torch.from_numpy(depth[part]).float() / 255
        seeds = seed * 10_000_000 + np.arange(start, start + len(chunk))
        images[part] = generator(chunk, seeds, colors[part]).permute(0, 3, 1, 2).numpy()
    return images.reshape(n, views, *images.shape[1:])


def draw_batch(depth: torch.Tensor, colors: torch.Tensor, clutter: tuple[float, float],
               generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw images of depth views at once on their device, each with a random clutter.

    Unlike those of :func:`draw_images` they depend on the whole batch.

    Args:
        depth: Depth views, uint8 (N, H, H).
        colors: Two colors of each object, uint8 (N, 2, 3).
        clutter: Range of the clutter in [0, 1].
        generator: Generator of the device; the default one without.

    Returns:
        float32 (N, 3, H, H) in [0, 1].
    """
    draw = BatchParameters(len(depth), depth.device, generator)
    return paint(depth.float() / 255, draw, draw.uniform(*clutter), colors.float() / 255)


def as_images(depth: np.ndarray) -> np.ndarray:
    """Return depth views uint8 (N, V, H, W) as gray images (N, V, 3, H, W)."""
    return np.broadcast_to(depth[:, :, None], (*depth.shape[:2], 3, *depth.shape[2:])).copy()


def clutter_range(epoch: int, epochs: int, warm: bool = False) -> tuple[float, float]:
    """Return the range of clutter of an epoch: plain at first, then everything, at the end no light background.

    A ``warm`` run, which begins with trained weights, needs no plain ones.
    """
    progress = epoch / epochs
    if warm:
        return (0., 1.) if progress < .6 else (.7, 1.)
    return (0., .15) if progress < .12 else (.0, .5) if progress < .3 else (.1, 1.) if progress < .6 else (.7, 1.)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Return float images (N, C, H, W), half of them mirrored, each scaled and shifted a little."""
    n = len(images)
    scale = torch.empty(n).uniform_(.9, 1.15)
    flip = torch.where(torch.rand(n) < .5, -1., 1.)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = torch.empty(n, 2).uniform_(-.06, .06)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode='reflection', align_corners=False)
