"""Search of view weights and of one sentence per class on labeled objects (PointCLIP, PointCLIP V2)."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor
from tqdm import tqdm

# Numbers that a search holds at once: bounds its memory to about 100 MB.
CHUNK = 1 << 24


@dataclass
class SearchResult:
    """Result of a search: what was chosen, and top-1 accuracies in percent, of the start and each improvement."""
    chosen: list
    before: float
    improvements: list[float] = field(default_factory=list)

    @property
    def after(self) -> float:
        """Top-1 accuracy in percent of what was chosen."""
        return self.improvements[-1] if self.improvements else self.before


def search_view_weights(products: Tensor, labels: Tensor, values: Sequence[float] = (.25, .5, .75, 1.),
                        fixed: Sequence[float] = (), start: Sequence[float] | None = None) -> SearchResult:
    """Try all combinations of view weights and keep the first of the best ones.

    Args:
        products: Float (N, V, C), products of the view features of N objects with the class features.
        labels: int64 (N,).
        values: Weights to try for each view; the last view changes fastest.
        fixed: Weights of the first views, which are not searched; PointCLIP V2 sets three to 0.75.
        start: Weights to begin with, kept unless others are strictly better; default: 1 for each view.

    Returns:
        ``chosen``: the weights.

    Raises:
        ValueError: There are no objects, more weights are fixed than there are views, or no values are given.
    """
    num_objects, num_views, _ = products.shape
    if not num_objects or not values or len(fixed) > num_views:
        raise ValueError(f'a search needs objects, values to try and at most {num_views} fixed weights, got '
                         f'{num_objects}, {list(values)} and {list(fixed)}')
    chosen = [1.] * num_views if start is None else [float(weight) for weight in start]
    by_view = products.float().transpose(0, 1).flatten(1)  # (V, N * C)
    labels = labels.to(products.device)

    def num_correct(weights: Tensor) -> Tensor:
        scores = (weights @ by_view).view(len(weights), *products.shape[::2])
        return (scores.argmax(2) == labels).sum(1)

    best = int(num_correct(by_view.new_tensor([chosen]))[0])
    result = SearchResult(chosen, 100 * best / num_objects)
    free = num_views - len(fixed)
    size = max(CHUNK // by_view.shape[1], 1)
    combinations = product(values, repeat=free)
    with tqdm(total=len(values)**free, desc='view weights', leave=False) as progress:
        while chunk := [[*fixed, *combination] for combination, _ in zip(combinations, range(size), strict=False)]:
            for weights, correct in zip(chunk, num_correct(by_view.new_tensor(chunk)).tolist(), strict=True):
                if correct > best:
                    best, result.chosen = correct, [float(weight) for weight in weights]
                    result.improvements.append(100 * best / num_objects)
            progress.update(len(chunk))
    return result


def search_sentences(features: Tensor, labels: Tensor, library: Sequence[Tensor], start: Tensor,
                     view_weights: Sequence[float] | None = None, passes: int = 2) -> SearchResult:
    """Choose one sentence per class, class by class, each time it makes the accuracy of all classes strictly better.

    Args:
        features: Float (N, V, D), view features of N objects, L2-normalized.
        labels: int64 (N,).
        library: For each of C classes the features (S, D) of its sentences, L2-normalized.
        start: Float (C, D), class features to begin with.
        view_weights: One weight per view; default 1.
        passes: Number of passes over the classes.

    Returns:
        ``chosen``: for each class the index of its sentence, -1 where that of the start is kept.

    Raises:
        ValueError: There are no objects, or not as many classes in ``library`` as in ``start``.
    """
    if not len(features) or len(library) != len(start):
        raise ValueError(f'a search needs objects and sentences of all {len(start)} classes, got {len(features)} and '
                         f'those of {len(library)}')
    weights = features.new_ones(features.shape[1]) if view_weights is None else features.new_tensor(view_weights)
    pooled = (features * weights[:, None]).sum(1)
    labels = labels.to(features.device)
    scores = pooled @ start.t()
    best = int((scores.argmax(1) == labels).sum())
    result = SearchResult([-1] * len(library), 100 * best / len(features))
    for round_ in range(passes):
        for label, sentences in enumerate(tqdm(library, desc=f'sentences, pass {round_ + 1}', leave=False)):
            others = scores.clone()
            others[:, label] = float('-inf')
            rival, predicted = others.max(1)
            candidates = pooled @ sentences.t()  # (N, S)
            # Of equal scores the first class is taken.
            wins = (candidates > rival[:, None]) | ((candidates == rival[:, None]) & (label < predicted)[:, None])
            correct = torch.where(wins, (labels == label)[:, None], (predicted == labels)[:, None]).sum(0).tolist()
            for index, number in enumerate(correct):
                if number > best:
                    best, result.chosen[label] = number, index
                    result.improvements.append(100 * best / len(features))
                    scores[:, label] = candidates[:, index]
    return result
