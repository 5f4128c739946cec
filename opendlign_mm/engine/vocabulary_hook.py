"""The classes of the data set become the vocabulary of the model."""
from typing import Dict, Optional, Sequence, Tuple

from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

# ScanNet's spellings, as mmdet3d has them, and the words a text encoder knows.
SCANNET_WORDING = dict(showercurtrain='shower curtain', garbagebin='garbage bin')


def vocabulary_of(class_names: Sequence[str], wording: Optional[Dict[str, str]] = None) -> Tuple[str, ...]:
    """Class names as prompts should say them.

    Args:
        class_names (Sequence[str]): names of the data set.
        wording (dict, optional): other words for some names; those of ScanNet by default.
    """
    wording = SCANNET_WORDING if wording is None else wording
    return tuple(wording.get(name, name) for name in class_names)


@HOOKS.register_module()
class VocabularyFromDatasetHook(Hook):
    """Before validation and test, sets the model's vocabulary to the classes of the data set.

    Labels then mean the same to the model, the annotations and the metrics, whichever data set a config is pointed at:
    to ``OpenDlign`` for single objects as to ``OpenVocabDetector3D`` for rooms. A data set without classes leaves the
    vocabulary as it is.

    Args:
        wording (dict, optional): see :func:`vocabulary_of`.
    """

    def __init__(self, wording: Optional[Dict[str, str]] = None) -> None:
        self.wording = wording

    def before_val_epoch(self, runner: Runner) -> None:
        """Set the vocabulary for validation."""
        self._set_vocabulary(runner, runner.val_dataloader)

    def before_test_epoch(self, runner: Runner) -> None:
        """Set the vocabulary for the test."""
        self._set_vocabulary(runner, runner.test_dataloader)

    def _set_vocabulary(self, runner: Runner, dataloader) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        classes = dataloader.dataset.metainfo.get('classes')
        if classes:
            model.set_vocabulary(vocabulary_of(classes, self.wording))
