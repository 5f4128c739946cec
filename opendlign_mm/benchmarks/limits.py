"""What a device can do at best: measured rates of matrix products and copies, and the work of a computation."""
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .measuring import seconds_of

# Shapes (rows, inner, columns) of the products; the fastest counts. The second is the MLP of a ViT-B on many tokens.
_PRODUCTS = {'cpu': ((1024, 1024, 1024), (2000, 768, 3072)), 'cuda': ((8192, 8192, 8192), (16384, 1280, 5120))}
_COPY_BYTES = {'cpu': 1 << 27, 'cuda': 1 << 30}
_REPEATS = 7
# Operations per second of dense bfloat16 products in the data sheets of GPUs, by a part of their names.
_DATA_SHEETS = {'H100': 989e12, 'H200': 989e12}


def peak_of_data_sheet(device: torch.device) -> float | None:
    """Return the operations per second of bfloat16 that the data sheet of a GPU promises; None where it is unknown."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else ''
    return next((rate for part, rate in _DATA_SHEETS.items() if part in name), None)


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype, quick: bool = False) -> float:
    """Measure the floating point operations per second of a matrix product; the fastest of several counts."""
    shapes = ((128, 128, 128), ) if quick else _PRODUCTS[device.type]
    return max(_product_rate(device, dtype, shape) for shape in shapes)


def _product_rate(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> float:
    rows, inner, columns = shape
    # Random: GPUs multiply constant matrices with less power, and so up to 13 % faster than any real ones.
    left, right = (torch.randn(size, inner, device=device).to(dtype) for size in (rows, columns))
    with torch.inference_mode():
        times = [seconds_of(lambda: torch.nn.functional.linear(left, right), device) for _ in range(_REPEATS)]
    return 2 * rows * inner * columns / min(times[1:])


@cache
def copy_bandwidth(device: torch.device, quick: bool = False) -> float:
    """Measure the bytes per second that a copy reads and writes, each counted once; the fastest of several counts."""
    source = torch.ones(1 << 16 if quick else _COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / min([seconds_of(lambda: target.copy_(source), device) for _ in range(_REPEATS)][1:])


def count_operations(call: Callable[[], Any]) -> int:
    """Count the floating point operations of the products and convolutions of a call, a product-sum as two."""
    # The counter knows neither PyTorch's fused attention layer nor its attention kernel for CPUs.
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            call()
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    return counter.get_total_flops()


def least_seconds(device: torch.device, dtype: torch.dtype, operations: float = 0, bytes_moved: float = 0,
                  quick: bool = False) -> float:
    """Return the time that a device needs at best: the longer one of computing and of moving memory.

    Args:
        device: The device, whose rates are measured.
        dtype: Dtype of the products.
        operations: Floating point operations.
        bytes_moved: Bytes read and written.
        quick: Measure the rates on small sizes.
    """
    computing = operations / matmul_rate(device, dtype, quick) if operations else 0.
    moving = bytes_moved / copy_bandwidth(device, quick) if bytes_moved else 0.
    return max(computing, moving)


def rates(device: torch.device, quick: bool = False) -> dict[str, float]:
    """Return the measured rates of a device: operations per second by dtype, and bytes per second of a copy."""
    dtypes = [torch.float32, torch.bfloat16, *([torch.float16] if device.type == 'cuda' else [])]
    found = {f'matmul_{str(dtype).removeprefix("torch.")}': matmul_rate(device, dtype, quick) for dtype in dtypes}
    return dict(found, copy=copy_bandwidth(device, quick))
