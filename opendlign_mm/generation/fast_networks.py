"""Networks of a diffusion pipeline that compute the same images in less time."""
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

# Layers that are compiled one by one, in convolutional networks; others name theirs. Layers of equal shapes share the
# code, also of the UNet and its ControlNet: a whole network takes minutes to compile, its layers take seconds.
LAYERS = ('ResnetBlock2D', 'Transformer2DModel')
# Versions of the code of a layer, one for each shape. PyTorch allows 8 and computes further ones without compiling;
# SD 1.5 at one size has 24.
MAX_SHAPES = 256


class FastNetworks:
    """The networks of a pipeline, changed in place: they compute the same up to rounding in less time.

    Convolutions are channels-last, so that cuDNN need not transpose their inputs; attention computes queries, keys and
    values of a layer as one product (of a text: keys and values); on a GPU layers are compiled when they are first
    used, which joins normalization, activation and other operations that move more memory than they compute; cuDNN
    measures its algorithms. Compiled code and cuDNN choose by measuring, so another process may round differently. On
    a CPU compiled layers would take nearly twice as long as PyTorch's own.

    Args:
        pipeline: A pipeline of diffusers. Its text encoders stay as they are, since each text is encoded once.
        backend: Compiler, see :func:`torch.compile`; ``'auto'`` is ``'inductor'`` on a GPU and none on a CPU.
    """

    def __init__(self, pipeline: Any, backend: str = 'auto') -> None:
        from diffusers import ModelMixin
        networks = [part for part in pipeline.components.values() if isinstance(part, ModelMixin)]
        self.layers = [layer for network in networks for layer in _layers_of(network)]
        self._pipeline, self._backend = pipeline, backend
        self._compiled, self._used = True, False
        for network in networks:
            _make_channels_last(network)
            _fuse_projections(network)

    def _compile(self) -> None:
        """Let the layers be compiled when they are called next."""
        backend = self._backend
        if backend == 'auto':
            if self._pipeline.device.type == 'cpu':
                return
            backend = 'inductor'
        print_log(f'the first images wait until {len(self.layers)} layers are compiled, which takes minutes', 'current',
                  logging.INFO)
        # Products replace convolutions of 1 x 1 pixel, and then join with what follows.
        options = dict(conv_1x1_as_mm=True) if backend == 'inductor' else None
        for layer in self.layers:
            layer.compile(dynamic=False, backend=backend, options=options)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Allow all shapes of the layers, and cuDNN to measure, within the block that calls the pipeline.

        Raises:
            RuntimeError: A layer cannot be compiled.
        """
        if not self._compiled:
            yield
            return
        if not self._used:
            self._used = True
            self._compile()
        measures = torch.backends.cudnn.benchmark
        try:
            torch.backends.cudnn.benchmark = measures or not torch.backends.cudnn.deterministic
            with torch._dynamo.config.patch(cache_size_limit=MAX_SHAPES):
                yield
        except torch._dynamo.exc.TorchDynamoException as error:
            inner = getattr(error, 'inner_exception', None)
            if isinstance(inner, torch.cuda.OutOfMemoryError):
                raise inner from None
            cause = inner or error
            reason = ' '.join([f'{type(cause).__name__}:', *str(cause).strip().splitlines()[:1]])
            raise RuntimeError(f'the networks cannot be compiled ({reason}). Compiling needs a C++ compiler and, on a '
                               'GPU, Triton; without: --cfg-options generator.optimize=False') from error
        finally:
            torch.backends.cudnn.benchmark = measures

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """Use the layers as they are within the block, for a single image of another shape or data type."""
        compiled = [layer._compiled_call_impl for layer in self.layers]
        try:
            self._compiled = False
            for layer in self.layers:
                layer._compiled_call_impl = None
            yield
        finally:
            self._compiled = True
            for layer, call in zip(self.layers, compiled, strict=True):
                layer._compiled_call_impl = call


def _layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the outermost layers that are worth compiling."""
    # Those that a network of diffusers names lie in ours (UNet), or are all of its layers (transformers such as FLUX).
    names = {*LAYERS, *(getattr(network, '_repeated_blocks', None) or ())}
    found, left = [], list(network.children())
    while left:
        module = left.pop()
        if type(module).__name__ in names:
            found.append(module)
        else:
            left.extend(module.children())
    return found


def _make_channels_last(network: nn.Module) -> None:
    """Give kernels of convolutions (O, I, H, W) the memory order O, H, W, I, which their outputs take over."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _fuse_projections(network: nn.Module) -> None:
    """Join the linear layers of usual attention: of queries, keys and values, or of keys and values of a text."""
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0, FusedAttnProcessor2_0
    for layer in network.modules():
        # Adapters and added texts have processors of their own, which do not know joined layers.
        if type(layer) is Attention and type(layer.processor) is AttnProcessor2_0:
            layer.fuse_projections()
            layer.set_processor(FusedAttnProcessor2_0())
            for name in ('to_k', 'to_v') if layer.is_cross_attention else ('to_q', 'to_k', 'to_v'):
                delattr(layer, name)  # its weights are copied
