"""Tokens of depth views before the trained blocks, and features of images, computed once for all epochs."""
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..atomic_files import atomic_write
from ..source_files import is_error_of_machine, required
from ..structures import STORED_TOKENS
from .described_folder import DescribedFolder

REMEDY = 'Train again: tools/train.py makes what is missing.'
ENTRIES = (*STORED_TOKENS, 'image_features')
TokenDtype = Literal['bf16', 'fp32']


class StoredTokens(DescribedFolder):
    """A folder with one safetensors file for each shard of a training set.

    Of each object there are ``depth_tokens`` (V, ...), the tokens of its depth views before the trained blocks,
    ``depth_pretrained`` (V, ...), those of the pretrained branch after its last block, where the tuned branch takes
    them, and ``image_features`` float32 (V, D), the features of its images by the pretrained branch. Files are mapped,
    so that processes share their pages.

    Args:
        root: The folder; its ``identity`` are CLIP, blocks, transforms, data and dtype.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: Its description is damaged.
    """

    description = 'tokens.json'
    maker = 'A training with token_dir writes such folders.'
    contents = 'tokens of another training'
    remedy_of_others = 'delete it'

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._shard_of: dict[str, int] = {}
        self._unreadable: dict[str, str] = {}

    def write(self, shard: int, objects: dict[str, dict[str, torch.Tensor]], unreadable: dict[str, str]) -> None:
        """Write a shard.

        Args:
            shard: Number of the shard.
            objects: sample_id -> the stored entries of an object.
            unreadable: sample_id -> why an object has none.
        """
        tensors = {f'{entry} {sample_id}': value.contiguous() for sample_id, entries in objects.items()
                   for entry, value in entries.items()}
        with atomic_write(self.path(shard)) as unfinished:
            save_file(tensors, unfinished, dict(samples=json.dumps(list(objects)), unreadable=json.dumps(unreadable)))

    def is_done(self, shard: int) -> bool:
        """Return whether the file of a shard exists and is whole."""
        try:
            self._read_header(shard)
        except (OSError, ValueError, SafetensorError) as error:
            if is_error_of_machine(error):
                raise
            return False
        return True

    def index(self, num_shards: int) -> None:
        """Read which objects are in which of the first ``num_shards`` shards; :meth:`of` needs it."""
        for shard in range(num_shards):
            samples, unreadable = self._read_header(shard)
            self._shard_of.update(dict.fromkeys(samples, shard))
            self._unreadable.update(unreadable)

    def of(self, sample_id: str) -> dict[str, torch.Tensor]:
        """Read the stored entries of one object, and not those of others.

        Raises:
            FileNotFoundError: The file is missing.
            ValueError: The object could not be read when the tokens were made, or the file is damaged.
        """
        if sample_id not in self._shard_of:
            raise ValueError(f'{self.root} has no tokens of {sample_id}: '
                             f'{self._unreadable.get(sample_id, "it is not of this training set")}')
        path = required(self.path(self._shard_of[sample_id]), REMEDY)
        try:
            with safe_open(path, 'pt') as file:
                stored = set(file.keys())
                return {entry: file.get_tensor(name) for entry in ENTRIES
                        if (name := f'{entry} {sample_id}') in stored}
        except (SafetensorError, OSError) as error:
            if is_error_of_machine(error):
                raise
            raise ValueError(f'{path} is damaged: {error}. Delete it. {REMEDY}') from error

    def _read_header(self, shard: int) -> tuple[Sequence[str], dict[str, str]]:
        with safe_open(self.path(shard), 'pt') as file:
            facts = file.metadata()
        return json.loads(facts['samples']), json.loads(facts['unreadable'])
