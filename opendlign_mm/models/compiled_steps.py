"""Steps of an image tower compiled by PyTorch: one region for the embedding, one that all blocks share."""
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import nn

Compiled = bool | Literal['tuned']
# Options of PyTorch's compiler. Its products of matrices compete with those of the vendor's library by measured time;
# the former take the activation along, the latter need another pass over memory for it.
_OPTIONS: dict[str, dict[str, Any]] = {'tuned': {'max_autotune': True, 'triton.enable_persistent_tma_matmul': True}}


class Steps(NamedTuple):
    """How to compute an image tower.

    Args:
        embed: From the tower and images to the tokens before the first block.
        run: From the tower, a block or what stands for it, and tokens to the tokens after it.
        last: The same of the last block.
    """

    embed: Callable[[Any, torch.Tensor], torch.Tensor]
    run: Callable[[Any, nn.Module, torch.Tensor], torch.Tensor]
    last: Callable[[Any, nn.Module, torch.Tensor], torch.Tensor]


def checked_compiled(compiled: Any) -> Compiled:
    """Return ``compiled``: False, True or 'tuned'.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(compiled, bool) and compiled not in tuple(_OPTIONS):
        raise ValueError(f"compiled must be False, True or 'tuned', got {compiled!r}")
    return cast(Compiled, compiled)


@cache
def steps(compiled: Compiled) -> Steps:
    """Return the steps of a tower, compiled or not; of all backbones, so that copies of a model need no state.

    Blocks of one shape share their code: the time to compile does not grow with their number.

    Args:
        compiled: See ``CLIPDepthBackbone``.
    """
    if not compiled:
        return Steps(_embed, _run, _run)
    # What runs once for each batch of views is not worth the time that measuring kernels takes.
    embed, run, last = (torch.compile(_embed), torch.compile(_run, options=_OPTIONS.get(str(compiled))),
                        torch.compile(_run))
    return Steps(_for_any_number(embed), _for_any_number(run), _for_any_number(last))


def _for_any_number(step: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a compiled step that batches of any number of views share, but for a single view."""
    def marked(tower: Any, *inputs: Any) -> torch.Tensor:
        torch._dynamo.maybe_mark_dynamic(inputs[-1], tower.batch_dim if len(inputs) > 1 else 0)
        return step(tower, *inputs)

    return marked


def _embed(tower: Any, images: torch.Tensor) -> torch.Tensor:
    return tower.embed(images)


def _run(tower: Any, block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return tower.run(block, tokens)
