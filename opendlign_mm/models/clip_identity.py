"""Which CLIP a checkpoint was trained on: name, weights' tag and content hash, as a tensor."""
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Optional

import torch
from torch import nn


@dataclass(frozen=True)
class CLIPIdentity:
    """Name of the model, tag or file name of its weights, SHA-256 of the weights (None on the meta device)."""
    name: str
    pretrained: Optional[str]
    sha256: Optional[str]

    def __str__(self) -> str:
        return (f"CLIP '{self.name}' (pretrained={self.pretrained!r}, "
                f'sha256 {(self.sha256 or "unknown")[:12]})')

    def to_tensor(self) -> torch.Tensor:
        """The identity as JSON bytes, uint8 (n,): tools that move a state dict expect tensors only."""
        return torch.tensor(list(json.dumps(asdict(self)).encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, tensor: torch.Tensor) -> 'CLIPIdentity':
        """Inverse of :meth:`to_tensor`; ``ValueError`` if the tensor holds anything else."""
        try:
            return cls(**json.loads(bytes(tensor.to(torch.uint8).tolist()).decode()))
        except (TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f'The entry that names the CLIP of a checkpoint is damaged: {error}') from error


def sha256_of_weights(module: nn.Module) -> Optional[str]:
    """SHA-256 over the name, dtype, shape and bytes of all persistent entries; None on the meta device."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if value.is_meta:
            return None
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        # uint8 view: NumPy has no bfloat16.
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
