"""Depth views to what a depth ControlNet expects."""
import cv2
import numpy as np
import torch
from torch import Tensor


def control_images(depth_views: Tensor, size: int, median_kernel: int = 7) -> Tensor:
    """Smooth depth views, invert them and resize them (method, section 2).

    ControlNet minds jagged edges more than CLIP does, hence the median filter, and expects bright = near.

    Args:
        depth_views: float (N, H, W) in [0, 1], background white, near is dark.
        size: Height and width of the control images in pixels.
        median_kernel: Odd; 1 leaves the filter out.

    Returns:
        float32 (N, 3, size, size) in [0, 1] on the CPU, background black, near is bright.
    """
    if median_kernel < 1 or median_kernel % 2 == 0:
        raise ValueError(f'median_kernel must be odd and >= 1, got {median_kernel}')
    grey = (depth_views.detach().float().cpu() * 255).round().to(torch.uint8).numpy()
    images = []
    for view in grey:
        smooth = cv2.medianBlur(view, median_kernel) if median_kernel > 1 else view
        shrinks = size < view.shape[0]
        images.append(cv2.resize(255 - smooth, (size, size),
                                 interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
    stacked = torch.from_numpy(np.stack(images)).float() / 255
    return stacked[:, None].expand(-1, 3, -1, -1).contiguous()
