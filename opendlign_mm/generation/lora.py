"""Low-rank changes of the weights of a diffusion network (LoRA), added to its weights."""
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Endings of the names of the two factors of a change, W + scale * up @ down: of kohya and of peft, as diffusers writes.
FACTORS = {'.lora_up.weight': 'up', '.lora_down.weight': 'down', '.lora_B.weight': 'up', '.lora_A.weight': 'down',
           '.lora.up.weight': 'up', '.lora.down.weight': 'down', '.alpha': 'alpha'}


def add_lora(network: nn.Module, pretrained: str, file: str = 'pytorch_lora_weights.safetensors',
             scale: float = 1.) -> int:
    """Add the change of a file to the weights of a network, in place; it costs nothing afterwards.

    Args:
        network: A UNet of diffusers.
        pretrained: Local folder of the file, or a name on the Hugging Face hub.
        file: A file of safetensors in it, with layers named as in diffusers: ``lora_unet_down_blocks_0_...`` (kohya) or
            ``unet.down_blocks.0...`` (peft).
        scale: Factor of the change.

    Returns:
        Number of layers that are changed.

    Raises:
        FileNotFoundError: The file is neither in a local folder nor in the cache, and the download failed.
        ValueError: The file names layers that the network lacks, or has factors of other shapes.
    """
    from safetensors.torch import load_file
    path = _find(pretrained, file)
    aliases = {alias: layer for name, layer in network.named_modules()
               if isinstance(getattr(layer, 'weight', None), Tensor)
               for alias in (f'lora_unet_{name.replace(".", "_")}', f'unet.{name}')}
    changes: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(path).items():
        ending = next((ending for ending in FACTORS if key.endswith(ending)), None)
        alias = key.removesuffix(ending or '')
        if ending is None or alias not in aliases:
            raise ValueError(f'{path} has {key!r}, which is no change of a layer of this {type(network).__name__}: a '
                             'file for another network, for its text encoder, too, or with other names than those of '
                             'diffusers')
        changes.setdefault(alias, {})[FACTORS[ending]] = value
    if not changes:
        raise ValueError(f'{path} has no weights')
    for alias, parts in changes.items():
        _add(aliases[alias], parts, scale, f'{path}, {alias}')
    return len(changes)


@torch.no_grad()
def _add(layer: Any, parts: dict[str, Tensor], scale: float, place: str) -> None:
    """Add scale * alpha / rank * up @ down to the weight (O, I) or (O, I, H, W) of a layer."""
    if not {'up', 'down'} <= set(parts):
        raise ValueError(f'{place}: one of the two factors is missing')
    up, down = parts['up'].float().flatten(1), parts['down'].float().flatten(1)  # (O, R), (R, I * H * W)
    if up.shape[1] != down.shape[0] or len(up) * down.shape[1] != layer.weight.numel() or len(up) != len(layer.weight):
        raise ValueError(f'{place}: the factors {tuple(parts["up"].shape)} and {tuple(parts["down"].shape)} do not fit '
                         f'to weights {tuple(layer.weight.shape)}')
    rank = len(down)
    change = (scale * float(parts.get('alpha', rank)) / rank * (up @ down)).view(layer.weight.shape)
    layer.weight.copy_(layer.weight.float() + change.to(layer.weight.device))


def _find(pretrained: str, file: str) -> Path:
    if Path(pretrained).is_dir():
        path = Path(pretrained) / file
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist; it is the file of a LoRA (loras) of the config')
        return path
    from huggingface_hub import hf_hub_download
    try:
        return Path(hf_hub_download(pretrained, file))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"the LoRA '{pretrained}' ({file}) is neither a local folder nor in the Hugging Face "
                                f'cache, and the download failed: {str(error).splitlines()[0]} Download it on a '
                                'machine with access and give the folder in the config.') from error
