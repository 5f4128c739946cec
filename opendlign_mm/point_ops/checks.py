"""What the operations ask of their input."""
from torch import Tensor


def check_xyz(xyz: Tensor, name: str = 'xyz') -> None:
    """Check that ``xyz`` is a batch of point sets: float (B, N, 3), N > 0.

    Raises:
        TypeError: no floating point tensor.
        ValueError: another shape, or no points.
    """
    if not isinstance(xyz, Tensor) or not xyz.is_floating_point():
        raise TypeError(f'{name} must be a floating point tensor, got {getattr(xyz, "dtype", type(xyz).__name__)}')
    if xyz.dim() != 3 or xyz.shape[2] != 3:
        raise ValueError(f'{name} must have shape (B, N, 3), got {tuple(xyz.shape)}')
    if xyz.shape[1] == 0:
        raise ValueError(f'{name} holds no points')


def mmcv_has_cuda() -> bool:
    """Whether mmcv was compiled with its CUDA operations; they replace ours where they do the same."""
    try:
        from mmcv.ops import get_compiling_cuda_version
        return get_compiling_cuda_version() != 'not available'
    except ImportError:  # mmcv-lite
        return False
