"""Detection metrics of groups of classes, such as those that a training has seen and the novel ones."""
from collections.abc import Sequence

import numpy as np
from mmdet3d.registry import METRICS

from ..datasets.detection_protocols import FRAME_PROTOCOLS, scannet200_groups
from ..datasets.shape_dataset import spoken
from .box_metrics import OpenVocabIndoorMetric

GROUPS: dict[str, dict[str, Sequence[str]]] = {
    **{name: dict(base=tuple(protocol.base), novel=tuple(protocol.novel)) for name, protocol in FRAME_PROTOCOLS.items()
       if protocol.base},
    'scannet200': scannet200_groups()}


@METRICS.register_module()
class GroupedIndoorMetric(OpenVocabIndoorMetric):
    """``OpenVocabIndoorMetric`` with the mean over groups of classes in addition: ``base_mAP_0.25``.

    As in the mean of all classes, ``mAP_0.25``, those without an annotated box do not count.

    Args:
        groups: Group -> names of its classes; 'scannet60' or 'sun46': the base and novel classes of CoDA; 'scannet200':
            the head, common and tail classes of ScanNet200.
        kwargs: Arguments of ``OpenVocabIndoorMetric``.

    Raises:
        ValueError: There is no such protocol or no group, or (when computing) a group has classes that the dataset does
            not have.
    """

    def __init__(self, groups: str | dict[str, Sequence[str]], **kwargs) -> None:
        super().__init__(**kwargs)
        if isinstance(groups, str):
            if groups not in GROUPS:
                raise ValueError(f'groups must be one of {", ".join(GROUPS)} or a dict, got {groups!r}')
            groups = GROUPS[groups]
        if not groups or not all(len(names) for names in groups.values()):
            raise ValueError(f'groups must name at least one class each, got {groups}')
        self.groups = {name: tuple(classes) for name, classes in groups.items()}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics of ``OpenVocabIndoorMetric`` and the mean of each group that has annotated boxes."""
        classes = self.dataset_meta['classes']
        place = {spoken(name): label for label, name in enumerate(classes)}
        absent = sorted({name for names in self.groups.values() for name in names if spoken(name) not in place})
        if absent:
            raise ValueError(f'the groups have classes that the dataset does not have: {", ".join(absent[:8])}')
        metrics = super().compute_metrics(results)
        annotated = {int(label) for annotations, _ in results for label in annotations['gt_labels_3d']}
        for group, names in self.groups.items():
            own = [classes[place[spoken(name)]] for name in names if place[spoken(name)] in annotated]
            for threshold in self.iou_thr if own else ():
                for mean, each in (('mAP', 'AP'), ('mAR', 'rec')):
                    values = [metrics[f'{name}_{each}_{threshold:.2f}'] for name in own]
                    metrics[f'{group}_{mean}_{threshold:.2f}'] = float(np.mean(values))
        return metrics
