"""Contents of a checkpoint: the trained parameters, and the identity of the CLIP that they belong to."""
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class CLIPIdentity:
    """Name of a CLIP, tag or file name of its weights, and their SHA-256 (None on the meta device).

    In a checkpoint it also tells how the tuned branch uses its blocks (``tuning``); older ones do not tell.
    """

    name: str
    pretrained: str | None
    sha256: str | None
    tuning: str | None = None

    def __str__(self) -> str:
        return (f"CLIP '{self.name}' (pretrained={self.pretrained!r}, "
                f'sha256 {(self.sha256 or "unknown")[:12]})')

    def to_tensor(self) -> torch.Tensor:
        """Return the identity as JSON bytes, uint8 (n,): tools that move a state dict expect tensors only."""
        known = {key: value for key, value in asdict(self).items() if key != 'tuning' or value is not None}
        return torch.tensor(list(json.dumps(known).encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, tensor: torch.Tensor) -> 'CLIPIdentity':
        """Read what :meth:`to_tensor` wrote.

        Raises:
            ValueError: The tensor holds something else.
        """
        try:
            return cls(**json.loads(bytes(tensor.to(torch.uint8).tolist()).decode()))
        except (TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f'the entry that names the CLIP of a checkpoint is damaged: {error}') from error


def sha256_of_weights(module: nn.Module) -> str | None:
    """Return the SHA-256 of the name, dtype, shape and bytes of all state dict entries; None on the meta device.

    Of a CLIP backbone these are the trained weights and its identity, which do not depend on its precision.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if value.is_meta:
            return None
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        # uint8 view: NumPy has no bfloat16.
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


IDENTITY_KEY = 'clip_identity'


class TrainedStateMixin(nn.Module):
    """State dict of a module with a frozen open_clip model ``clip`` and ``tuned_blocks`` copied from it.

    The state dict leaves out every entry of ``clip`` and the frozen entries of ``tuned_blocks`` that equal those of
    ``source_blocks()``; it adds the uint8 tensor ``clip_identity``. This works wherever the module is nested, with
    PyTorch's own functions and with mmengine's.

    Loading compares the identity and raises a ``RuntimeError`` that names both if the checkpoint belongs to another
    CLIP. A state dict that holds the weights of ``clip`` is loaded whole and then defines the identity.
    """

    clip: Any
    tuned_blocks: nn.ModuleList
    clip_name: str
    pretrained_label: str

    @property
    def tuning(self) -> str | None:
        """How the tuned branch uses its blocks, where the same entries can be used in several ways."""
        return None

    def source_blocks(self) -> list[nn.Module]:
        """Return the blocks of ``clip`` that ``tuned_blocks`` were copied from."""
        raise NotImplementedError

    def _init_trained_state(self) -> None:
        self._weights_hash: str | None = None
        self._load_prefix = ''
        self._clip_is_in_state_dict = False
        self._absent_frozen_entries: list[str] = []
        # Whether frozen weights are held in half precision, and whether entries loaded since then are not.
        self._is_cast = self._cast_is_due = False
        # Both torch and mmengine (which walks the modules itself) call hooks registered this way.
        self._register_state_dict_hook(_leave_out_what_clip_holds)
        self.register_load_state_dict_post_hook(_fill_in_what_clip_holds)

    def clip_identity(self) -> CLIPIdentity:
        """Return the identity of the frozen CLIP; its hash is computed once, when it is first needed."""
        if self._weights_hash is None:
            self._weights_hash = sha256_of_weights(self.clip)
        return CLIPIdentity(self.clip_name, self.pretrained_label, self._weights_hash)

    def check_clip_identity(self, stored: CLIPIdentity) -> None:
        """Compare the CLIP of a checkpoint with this module's.

        Raises:
            RuntimeError: They differ.
        """
        if stored.tuning not in (None, self.tuning):
            raise RuntimeError(f"the checkpoint was trained with the tuned branch '{stored.tuning}', the model has "
                               f"'{self.tuning}': set the backbone's combine, stacked and num_blocks to those of the "
                               'checkpoint')
        own = self.clip_identity()
        if stored.sha256 is None or stored.sha256 != own.sha256:
            same = stored.name == own.name and stored.pretrained == own.pretrained
            raise RuntimeError(
                f'the checkpoint was trained on {stored}, the model is built on {own}; '
                + ('the names agree, the weights do not: find the weights of the checkpoint, or ' if same else '')
                + "set the backbone's clip, model_config and pretrained to those of the checkpoint, or train again")

    def _frozen_copies(self) -> dict[str, tuple]:
        """Map the name of each frozen entry of ``tuned_blocks`` to (the entry, the entry it was copied from)."""
        pairs = {}
        for index, (block, source) in enumerate(zip(self.tuned_blocks, self.source_blocks(), strict=True)):
            originals = dict(source.named_parameters())
            for name, parameter in block.named_parameters():
                if not parameter.requires_grad:
                    pairs[f'tuned_blocks.{index}.{name}'] = (parameter, originals[name])
        return pairs

    @torch.no_grad()
    def _hold_in_full(self, prefix: str, state_dict: dict) -> None:
        """Hold frozen weights that ``state_dict`` has in its own dtype, so that loading does not round them."""
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad and prefix + name in state_dict:
                parameter.data = parameter.data.to(state_dict[prefix + name].dtype)
        for name, module in self.named_modules():
            for key, buffer in module.named_buffers(recurse=False):
                stored = state_dict.get('.'.join(filter(None, [prefix.rstrip('.'), name, key])))
                if stored is not None and key in module._buffers:
                    module._buffers[key] = buffer.to(stored.dtype)
        self._cast_is_due = True

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                              error_msgs):
        stored = state_dict.pop(prefix + IDENTITY_KEY, None)
        self._load_prefix = prefix
        self._clip_is_in_state_dict = any(key.startswith(f'{prefix}clip.') for key in state_dict)
        self._absent_frozen_entries = [name for name in self._frozen_copies() if prefix + name not in state_dict]
        if self._is_cast:
            self._hold_in_full(prefix, state_dict)
        if self._clip_is_in_state_dict:
            self._weights_hash = None
            self.pretrained_label = 'state dict' if stored is None else CLIPIdentity.from_tensor(stored).pretrained
        elif stored is not None:
            self.check_clip_identity(CLIPIdentity.from_tensor(stored))
        else:
            missing_keys.append(prefix + IDENTITY_KEY)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                                      error_msgs)


def equals_its_source(copied: torch.Tensor, original: torch.Tensor) -> bool:
    """Return whether a frozen entry of T' is still that of T; entries of different dtypes are not compared."""
    return copied.is_meta or copied.dtype == original.dtype and torch.equal(copied, original)


def _leave_out_what_clip_holds(module: TrainedStateMixin, state_dict: dict, prefix: str, _) -> None:
    for key in [key for key in state_dict if key.startswith(f'{prefix}clip.')]:
        del state_dict[key]
    for name, (copied, original) in module._frozen_copies().items():
        if equals_its_source(copied, original):
            del state_dict[prefix + name]
    state_dict[prefix + IDENTITY_KEY] = replace(module.clip_identity(), tuning=module.tuning).to_tensor()


@torch.no_grad()
def _fill_in_what_clip_holds(module: TrainedStateMixin, incompatible_keys) -> None:
    absent = {module._load_prefix + name for name in module._absent_frozen_entries}
    for name, (copied, original) in module._frozen_copies().items():
        if name in module._absent_frozen_entries:
            copied.data = original.detach().clone()
    incompatible_keys.missing_keys[:] = [
        key for key in incompatible_keys.missing_keys
        if key not in absent and (module._clip_is_in_state_dict or not key.startswith(f'{module._load_prefix}clip.'))]


def needs_clip_checkpoint(model: nn.Module) -> bool:
    """Return whether a checkpoint of the model has to name its CLIP.

    One with ``clip_in_checkpoint = False`` uses its frozen CLIP for names of classes only, or was built without it.
    """
    return getattr(model, 'clip_in_checkpoint', True) and any(
        isinstance(module, TrainedStateMixin) for module in model.modules())


def require_clip_checkpoint(checkpoint: dict, source: str) -> None:
    """Check that ``checkpoint`` was written for a model on a CLIP backbone.

    Args:
        checkpoint: A Runner's checkpoint or a plain state dict, as ``torch.load`` returns it.
        source: File that it was read from, for the message.

    Raises:
        RuntimeError: No entry names a CLIP or holds its weights.
    """
    entries = checkpoint.get('state_dict', checkpoint)
    if not any(f'.{key}'.endswith(f'.{IDENTITY_KEY}') or '.clip.' in f'.{key}' for key in entries):
        some = ', '.join(list(entries)[:3]) or 'nothing'
        raise RuntimeError(f'{source} is a checkpoint of another model: none of its {len(entries)} entries ({some}, '
                           '...) belongs to a CLIPDepthBackbone; give one that tools/train.py wrote for this config')
