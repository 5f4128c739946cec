"""Precision in which the frozen weights of a CLIP are held: the choice by device, and the cast."""
import logging
import time
from functools import cache
from typing import Literal, cast, get_args

import torch
from mmengine.logging import print_log
from torch import nn

Precision = Literal['fp32', 'bf16', 'fp16', 'auto']
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
# bfloat16 in hardware is at least twice as fast as float32, emulated it is at most half as fast.
LEAST_GAIN = 1.2


def checked_precision(precision: str) -> Precision:
    """Return ``precision``.

    Raises:
        ValueError: There is no such precision.
    """
    if precision not in get_args(Precision):
        raise ValueError(f'precision must be one of {", ".join(get_args(Precision))}, got {precision!r}')
    return cast(Precision, precision)


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype that a precision stands for on a device.

    ``'auto'`` is bfloat16 on a CPU that multiplies it faster than float32 (measured once in a process) and on a GPU
    with units for it, and float32 anywhere else. It is never float16, in which large activations overflow and small
    gradients vanish.

    Raises:
        ValueError: float16 on the CPU, which has no units for it.
    """
    if precision == 'fp16' and device.type == 'cpu':
        raise ValueError("precision='fp16' needs a GPU; on the CPU use 'bf16', 'fp32' or 'auto', the "
                         'faster of both')
    if precision != 'auto':
        return DTYPES[precision]
    gains, reason = False, f'as always on the device {device.type}'
    if device.type == 'cpu':
        gains, reason = bfloat16_gain() >= LEAST_GAIN, f'bfloat16 runs {bfloat16_gain():.1f} x as fast here as float32'
    elif device.type == 'cuda':
        gains = torch.cuda.is_bf16_supported(including_emulation=False)
        reason = f'the GPU has {"" if gains else "no "}units for bfloat16'
    dtype = torch.bfloat16 if gains else torch.float32
    _say_once(f"precision='auto': the frozen image tower computes in {str(dtype).removeprefix('torch.')}; {reason}")
    return dtype


@cache
def _say_once(message: str) -> None:
    print_log(message, 'current', logging.INFO)


@cache
def bfloat16_gain() -> float:
    """Measure how much faster the CPU multiplies bfloat16 than float32 matrices, in about 50 ms.

    The best of several times of each counts, taken in turn: another program slows both down.
    """
    with torch.inference_mode():
        left, right = torch.full((256, 768), .5), torch.full((768, 768), .5)
        pairs = [(left, right), (left.bfloat16(), right.bfloat16())]
        best = [float('inf')] * 2
        for repeat in range(6):
            for index, (one, other) in enumerate(pairs):
                start = time.perf_counter()
                torch.nn.functional.linear(one, other)
                if repeat:  # the first call prepares the kernel
                    best[index] = min(best[index], time.perf_counter() - start)
    return best[0] / best[1]


def cast_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast the floating-point parameters and buffers of a frozen module in place, except those of BatchNorm.

    The parameters stay the same objects. BatchNorm takes inputs of another dtype, and its running variances span more
    than half precision holds.
    """
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            continue
        for parameter in layer.parameters(recurse=False):
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
        for name, buffer in layer.named_buffers(recurse=False):
            if buffer.is_floating_point():
                layer._buffers[name] = buffer.to(dtype)


class CastBlock:
    """Call of a block that casts its trained float32 parameters for the call; their gradients stay float32.

    Args:
        block: A block whose frozen parameters may have been cast already.
        dtype: Dtype to compute in.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        self.block, self.dtype = block, dtype

    def __call__(self, *args, **kwargs) -> torch.Tensor:
        """Run the block."""
        cast = {name: parameter.to(self.dtype) for name, parameter in self.block.named_parameters()
                if parameter.dtype != self.dtype}
        return torch.func.functional_call(self.block, cast, args, kwargs)
