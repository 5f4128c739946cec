"""Read checkpoints that other projects wrote, without running code that they might contain."""
import argparse
import pickle
from pathlib import Path
from typing import Union

import numpy as np
import torch

# What published checkpoints hold beside tensors: the arguments of the run, and scalars of NumPy.
_ALLOWED = [argparse.Namespace, np.dtype, np.core.multiarray.scalar,
            *(type(np.dtype(name)) for name in ('float32', 'float64', 'int32', 'int64', 'bool'))]


def load_foreign_checkpoint(path: Union[str, Path], key: str) -> dict:
    """The state dict in a checkpoint file.

    Args:
        path: A file of ``torch.save``.
        key: The entry that holds the state dict; a file that is a state dict itself is taken as it is.

    Returns:
        dict of tensors, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no checkpoint, or holds objects other than tensors, numbers, texts,
            containers of these and ``argparse.Namespace``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        # On leaving, PyTorch takes back all that it was given, also what others had allowed before.
        known = torch.serialization.get_safe_globals()
        with torch.serialization.safe_globals([item for item in _ALLOWED if item not in known]):
            contents = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f'{path} is damaged or no checkpoint that can be read safely: {reason}') from error
    state_dict = contents.get(key, contents) if isinstance(contents, dict) else contents
    if not isinstance(state_dict, dict) or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        found = ', '.join(map(str, contents)) if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{path} has no state dict under '{key}' (it has: {found})")
    return state_dict
