"""Refuse a checkpoint that has nothing to do with the model."""
from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..models.trained_state import IDENTITY_KEY


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Stop with an error where mmengine would only warn that a checkpoint has no entry for the model.

    The model of the run has to contain a ``CLIPDepthBackbone``. That backbone itself refuses a checkpoint of another
    CLIP; this hook refuses one that was not made for such a model at all.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the entries of ``checkpoint`` before the model takes its weights from it."""
        require_clip_checkpoint(checkpoint, str(runner._load_from))


def require_clip_checkpoint(checkpoint: dict, source: str) -> None:
    """Check that ``checkpoint`` was written for a model on a CLIP backbone.

    Args:
        checkpoint: What ``torch.load`` gave: a Runner's checkpoint or a plain state dict.
        source: Where it is from, for the message.

    Raises:
        RuntimeError: No entry names a CLIP or holds its weights.
    """
    entries = checkpoint.get('state_dict', checkpoint)
    if not any(f'.{key}'.endswith(f'.{IDENTITY_KEY}') or '.clip.' in f'.{key}' for key in entries):
        some = ', '.join(list(entries)[:3]) or 'nothing'
        raise RuntimeError(f'{source} is a checkpoint of another model: none of its {len(entries)} entries ({some}, '
                           '...) belongs to a CLIPDepthBackbone. Give one that tools/train.py wrote for this config.')
