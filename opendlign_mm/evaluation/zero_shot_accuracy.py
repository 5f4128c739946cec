"""Accuracy of zero-shot classification: overall, per class, and the most confused pairs of classes."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from ..datasets.class_names import class_order_of
from .results import results_folder, write_csv


@METRICS.register_module()
class ZeroShotAccuracy(BaseMetric):
    """Top-k accuracy, macro precision, recall and F1 in percent, with a table of all classes.

    Predictions that carry ``class_names`` are matched with the classes of the dataset by name.

    Metrics: ``top{k}``, ``precision``, ``recall``, ``f1`` (macro means over the classes that occur as ground truth
    or as prediction), ``num_samples``, and ``top1_frozen`` if the samples have ``pred_scores_pretrained``. A k above
    the number of classes counts as that number.

    Files: ``per_class.csv`` and ``confusion_matrix.png``, with a row for each class of the dataset.

    Args:
        topk: Values of k.
        print_per_class: Whether to log the table of all classes.
        num_confused_pairs: Number of most confused pairs of classes to log; 0 logs none.
        out_dir: Folder of the files; by default ``results`` next to the log file of the run. Nothing is written if
            there is neither, e.g. in a notebook.
        collect_device: Device on which mmengine collects the results of several processes.
        prefix: Prefix of the metric names.
    """

    default_prefix = 'zero_shot'

    def __init__(self, topk: Sequence[int] = (1, 3, 5), print_per_class: bool = True,
                 num_confused_pairs: int = 5, out_dir: str | Path | None = None,
                 collect_device: Literal['cpu', 'gpu'] = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        topk = (topk, ) if isinstance(topk, int) else tuple(topk)
        if not topk or min(topk) < 1:
            raise ValueError(f'topk must be numbers >= 1, got {topk}')
        if num_confused_pairs < 0:
            raise ValueError(f'num_confused_pairs must be >= 0, got {num_confused_pairs}')
        self.topk, self.print_per_class = topk, print_per_class
        self.num_confused_pairs, self.out_dir = num_confused_pairs, out_dir

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the label, the predicted class and the rank of the label of each sample.

        Raises:
            ValueError: A sample has no label, no scores, scores that are not finite, a label outside the vocabulary, or
                predictions of other classes than those of the dataset.
        """
        for sample in data_samples:
            for field in ('gt_label', 'pred_scores'):
                if field not in sample:
                    raise ValueError(f"sample {sample.get('sample_id', '?')} has no {field}")
            label, order = int(sample['gt_label']), class_order_of(self, sample)
            ranking = self._ranking(sample, 'pred_scores', label, order)
            result = dict(label=label, predicted=int(ranking[0]), rank=int(np.flatnonzero(ranking == label)[0]),
                          num_classes=len(ranking))
            if 'pred_scores_pretrained' in sample:
                result['predicted_frozen'] = int(self._ranking(sample, 'pred_scores_pretrained', label, order)[0])
            self.results.append(result)

    @staticmethod
    def _ranking(sample: dict, field: str, label: int, order: np.ndarray | None) -> np.ndarray:
        """Return the classes of the dataset by descending score, ties in their order."""
        scores = sample[field].detach().float().cpu().numpy()
        scores = scores if order is None else scores[order]
        name = sample.get('sample_id', '?')
        if not np.isfinite(scores).all():
            raise ValueError(f'{field} of sample {name} are not finite')
        if label >= len(scores):
            raise ValueError(f'sample {name} has label {label}, but there are scores for {len(scores)} classes only. '
                             'Set the vocabulary of the model to the classes of the dataset.')
        return np.argsort(-scores, kind='stable')

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the metrics of all samples, log the tables and write the files. mmengine calls it on rank 0 only."""
        if not results:
            raise ValueError('there are no samples to evaluate')
        num_classes = results[0]['num_classes']
        names = list((self.dataset_meta or {}).get('classes') or [str(index) for index in range(num_classes)])
        if len(names) != num_classes:
            raise ValueError(f'the dataset has {len(names)} classes, the model scores {num_classes}. Set the '
                             'vocabulary of the model to the classes of the dataset.')
        label, predicted, rank = (np.array([result[key] for result in results])
                                  for key in ('label', 'predicted', 'rank'))
        precision, recall, f1, _ = _precision_recall_f1(label, predicted, average='macro')
        metrics = {f'top{k}': float((rank < k).mean() * 100) for k in self.topk}
        if all('predicted_frozen' in result for result in results):
            frozen = np.array([result['predicted_frozen'] for result in results])
            metrics['top1_frozen'] = float((frozen == label).mean() * 100)
        metrics.update(precision=precision * 100, recall=recall * 100, f1=f1 * 100, num_samples=float(len(results)))
        self._log_tables(names, label, predicted)
        folder = results_folder() if self.out_dir is None else Path(self.out_dir)
        if folder is not None:
            self._write_files(folder, names, label, predicted)
        return metrics

    def _log_tables(self, names: list[str], label: np.ndarray, predicted: np.ndarray) -> None:
        """Log the table of all classes and the most confused pairs."""
        logger = MMLogger.get_current_instance()
        if self.print_per_class:
            logger.info('\n' + AsciiTable(_per_class(names, label, predicted)).table)
        confusion = _confusion(names, label, predicted)
        pairs = most_confused_pairs(confusion, self.num_confused_pairs)
        if pairs:
            lines = [['class', 'taken for', 'objects', '% of the class']]
            lines += [[names[pair.label], names[pair.predicted], pair.count, f'{100 * pair.share:.1f}']
                      for pair in pairs]
            logger.info('\nMost confused pairs\n' + AsciiTable(lines).table)

    @staticmethod
    def _write_files(folder: Path, names: list[str], label: np.ndarray, predicted: np.ndarray) -> None:
        """Write the files of single classes; what fails is logged, because the metrics must not be lost for it."""
        from ..visualization.plots import draw_confusion_matrix

        def table() -> Path:
            return write_csv(folder / 'per_class.csv', _per_class(names, label, predicted))

        def figure() -> Path:
            return draw_confusion_matrix(
                _confusion(names, label, predicted), names, folder / 'confusion_matrix.png',
                f'top-1 {100 * (label == predicted).mean():.1f} % of {len(label)} objects')

        logger, written = MMLogger.get_current_instance(), []
        for write in (table, figure):
            try:
                written.append(str(write()))
            except Exception as error:  # a full disk, a class name that cannot be drawn
                logger.warning(f'the {write.__name__} of single classes could not be written to {folder}: '
                               f'{type(error).__name__} {error}')
        if written:
            logger.info(f'results per class: {", ".join(written)}')


# Imported in these two functions: scikit-learn takes more than a second, for which each command would wait.

def _precision_recall_f1(label: np.ndarray, predicted: np.ndarray, **options: Any) -> tuple:
    """Return scikit-learn's precision, recall, F1 and number of objects; 0 for what is not defined."""
    from sklearn.metrics import precision_recall_fscore_support
    return precision_recall_fscore_support(label, predicted, zero_division=0, **options)


def _confusion(names: list[str], label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the number of objects of each class (row) that were classified as each class (column), int (C, C)."""
    from sklearn.metrics import confusion_matrix
    return confusion_matrix(label, predicted, labels=range(len(names)))


def _per_class(names: list[str], label: np.ndarray, predicted: np.ndarray) -> list[list]:
    """Return a header and a row for each class, with ``-`` for values that a class without objects does not have."""
    per_class = _precision_recall_f1(label, predicted, labels=range(len(names)))
    rows = [['class', 'samples', 'recall (top-1)', 'precision', 'F1']]
    for name, precision, recall, f1, count in zip(names, *per_class, strict=True):
        rows.append([name, int(count)] + ([f'{100 * value:.1f}' for value in (recall, precision, f1)] if count else
                                          ['-', f'{100 * precision:.1f}', '-']))
    return rows


class ConfusedPair(NamedTuple):
    """Number of objects of class ``label`` that were classified as ``predicted``, and their share of the class."""
    label: int
    predicted: int
    count: int
    share: float


def most_confused_pairs(confusion: np.ndarray, num_pairs: int = 5) -> list[ConfusedPair]:
    """Return the most frequent mistakes, ties ordered by their share of the class.

    Args:
        confusion: int (C, C), number of objects of class (row) predicted as class (column), as in scikit-learn's
            ``confusion_matrix``.
        num_pairs: Maximum number of pairs.

    Returns:
        At most ``num_pairs`` pairs (true class, predicted class); a pair and its reverse are two pairs.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    shares = wrong / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    rows, columns = np.nonzero(wrong)
    order = np.lexsort((columns, rows, -shares[rows, columns], -wrong[rows, columns]))[:num_pairs]
    return [ConfusedPair(int(row), int(column), int(wrong[row, column]), float(shares[row, column]))
            for row, column in zip(rows[order], columns[order], strict=True)]
