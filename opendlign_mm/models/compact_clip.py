"""A small file for a small CLIP: only the token embeddings that were trained are stored.

CLIP's vocabulary has 49,408 tokens; a CLIP trained on a few hundred words leaves nearly all rows of the embedding
table at their random start. Such a file holds, beside the other weights, ``token_embedding_rows`` (int64, the
vocabulary indices) and the embedding rows of just those tokens. All other rows are zero after loading.
"""
import json
from pathlib import Path
from typing import Iterable, Union

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ..atomic_files import atomic_write

ROWS = 'token_embedding_rows'


def _embedding_key(model: nn.Module) -> str:
    return 'token_embedding.weight' if hasattr(model, 'token_embedding') else 'text.token_embedding.weight'


def save_compact_clip(model: nn.Module, config: dict, used_token_ids: Iterable[int], path: Union[str, Path],
                      dtype: torch.dtype = torch.float16) -> None:
    """Write an open_clip model as ``path`` (.safetensors) and its configuration beside it (.json).

    Args:
        model: The trained open_clip model.
        config: Its open_clip configuration.
        used_token_ids: Vocabulary indices whose embeddings were trained, with the start and end tokens and the
            padding (0); duplicates are allowed.
        path: The file to write. Both files appear whole or not at all.
        dtype: Storage type of the weights; loading casts them back to the model's.

    Raises:
        ValueError: ``path`` does not end in .safetensors, or an index lies outside the vocabulary.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise ValueError(f'path must end in .safetensors, got {path}')
    state = {key: value.detach().to('cpu', dtype).contiguous() for key, value in model.state_dict().items()}
    key = _embedding_key(model)
    rows = torch.tensor(sorted(set(int(index) for index in used_token_ids)), dtype=torch.int64)
    if len(rows) == 0 or rows[0] < 0 or rows[-1] >= len(state[key]):
        raise ValueError(f'used_token_ids must be indices from 0 to {len(state[key]) - 1}, at least one')
    state[key] = state[key][rows].contiguous()
    state[ROWS] = rows
    with atomic_write(path) as unfinished:
        save_file(state, str(unfinished))
    with atomic_write(path.with_suffix('.json')) as unfinished:
        unfinished.write_text(json.dumps(config, indent=2) + '\n')


def load_compact_clip(model: nn.Module, path: Union[str, Path]) -> bool:
    """Load a file of :func:`save_compact_clip` into ``model``; False, and nothing done, if it is any other file.

    ``model.known_token_ids`` (int64) then lists the tokens that have an embedding.
    """
    if Path(path).suffix != '.safetensors':
        return False
    with safe_open(str(path), framework='pt') as file:
        if ROWS not in file.keys():
            return False
    state = load_file(str(path))
    rows = state.pop(ROWS)
    key = _embedding_key(model)
    table = model.get_parameter(key)
    if int(rows.max()) >= len(table):
        raise ValueError(f'the file has token {int(rows.max())}, the model a vocabulary of {len(table)}')
    state[key] = table.new_zeros(table.shape).index_copy_(0, rows.to(table.device), state[key].to(table))
    model.load_state_dict(state)
    model.known_token_ids = rows
    return True
