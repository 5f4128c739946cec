"""The filter stage: score generated images with CLIP among the dataset's texts and decide which objects to keep.

The authors of OpenDlign name the filtering of low-quality images as future work; their released training code keeps an
object if its images retrieve their own text among the three best.
"""
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor

from ..atomic_files import atomic_write
from ..datasets.store import PackedShape, ShapeStore
from ..processes import of_all_processes, only_run, own_share, progress, say
from .missing_shards import missing_shards


class KeepRule(NamedTuple):
    """Rule that decides which objects, and which of their images, are kept.

    Attributes:
        max_rank: Largest rank of the own text among the distinct texts; 3 is the release's rule. None allows any.
        min_score: Smallest cosine with the own text; None allows any.
    """
    max_rank: int | None = 3
    min_score: float | None = None

    def __call__(self, rank: int, score: float) -> bool:
        """Return whether an image or object with this rank and score is kept."""
        return (self.max_rank is None or rank <= self.max_rank) and (self.min_score is None or score >= self.min_score)


class ImageFilter:
    """Scores of images among the distinct texts of a dataset.

    Args:
        clip: Config or module of a ``CLIPDepthBackbone``; its pretrained branch encodes the images.
        texts: Texts of the dataset; duplicates count once.
        template: Sentence with one {} for the text.
        rule: Rule of what is kept; default :class:`KeepRule`'s.
        device: Device of CLIP.

    Raises:
        ValueError: ``template`` does not have exactly one {}.
    """

    def __init__(self, clip: dict | torch.nn.Module, texts: Sequence[str], template: str = 'a photo of a {}.',
                 rule: KeepRule | None = None, device: str | torch.device = 'cpu') -> None:
        if template.count('{}') != 1:
            raise ValueError(f'template must have one {{}} for the text of the object, got {template!r}')
        self.rule, self.device = rule or KeepRule(), torch.device(device)
        self.clip = (clip if isinstance(clip, torch.nn.Module) else MODELS.build(clip)).to(self.device).eval()
        self.texts = sorted(set(texts))
        self._index = {text: index for index, text in enumerate(self.texts)}
        sentences = [template.replace('{}', text) for text in self.texts]
        self.text_features = torch.cat([F.normalize(self.clip.encode_text(sentences[begin:begin + 256]), dim=-1)
                                        for begin in range(0, len(sentences), 256)])

    @torch.no_grad()
    def score(self, images: np.ndarray, text: str) -> dict[str, float | int | bool | list]:
        """Judge the images of an object.

        Args:
            images: uint8 array (V, H, W, 3), RGB.
            text: Text of the object.

        Returns:
            ``scores``, ``ranks`` and ``images_kept``: for each image the cosine with the own text, the rank of that
            text among all texts (1 is best) and the decision. ``score``, ``rank`` and ``kept``: the same for the
            object, from the normalized mean of its image features. ``nearest_text``: the best text of the object.
        """
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 255
        features = F.normalize(self.clip(pixels, ('pretrained', ))['pretrained'].float(), dim=-1)
        scores, ranks = self._scores_and_ranks(features, text)
        mean = F.normalize(features.mean(0, keepdim=True), dim=-1)
        (score, ), (rank, ) = self._scores_and_ranks(mean, text)
        return dict(scores=scores, ranks=ranks, score=score, rank=rank, kept=self.rule(rank, score),
                    images_kept=[self.rule(*pair) for pair in zip(ranks, scores, strict=True)],
                    nearest_text=self.texts[int((mean @ self.text_features.T).argmax())])

    def _scores_and_ranks(self, features: Tensor, text: str) -> tuple[list[float], list[int]]:
        cosines = features @ self.text_features.T
        own = cosines[:, self._index[text]]
        ranks = 1 + (cosines > own[:, None]).sum(1)
        return [round(value, 6) for value in own.tolist()], ranks.tolist()


def filter_store(store: ShapeStore, clip: dict, template: str = 'a photo of a {}.', max_rank: int | None = 3,
                 min_score: float | None = None, device: str | torch.device = 'cpu') -> None:
    """Run this process's part of the filter stage: add scores and decisions to the metadata. Nothing is deleted.

    Shards that were filtered with the same CLIP, texts, template and rule are skipped. Each process waits for the last
    one.

    Args:
        store: A finished store of images.
        clip: Config of a ``CLIPDepthBackbone``.
        template: Sentence with one {} for the text.
        max_rank: Largest rank that is kept; see :class:`KeepRule`.
        min_score: Smallest score that is kept; see :class:`KeepRule`.
        device: Device of CLIP.

    Raises:
        FileNotFoundError: Shards are missing.
        ValueError: There are no images, or a shard is damaged.
    """
    rule = KeepRule(max_rank, min_score)
    texts = sorted({row['text'] for shard in range(store.num_shards) for row in store.rows(shard)
                    if not row['problem']})
    if not texts:
        raise ValueError(f'{store.root} has no images to filter; tools/generate_images.py says why')
    with only_run(store.root):
        judge = ImageFilter(clip, texts, template, rule, device)
        weights = judge.clip.clip_identity().sha256
        all_texts = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        fact = dict(filter=json.dumps([weights, template, *rule, all_texts]))
        shards = missing_shards(store, lambda shard: store.manifest(shard).facts.get('filter') != fact['filter'])
        say(f'{len(texts)} distinct texts; {len(shards)} of {store.num_shards} shards are to be filtered')
        for shard in progress(own_share(shards), desc='filter', unit='shard'):
            shapes: list[PackedShape] = list(store.read(shard))
            _check_complete(store, shard, shapes)
            for shape in shapes:
                shape.metadata = dict(shape.metadata, **judge.score(shape.images(), shape.metadata['text']))
            store.rewrite_metadata(shard, shapes, fact)
    of_all_processes(None)


def _check_complete(store: ShapeStore, shard: int, shapes: Sequence[PackedShape]) -> None:
    expected = store.stored_ids(shard)
    if [shape.sample_id for shape in shapes] != expected:
        raise ValueError(f'{store.shard_path(shard)} has {len(shapes)} of {len(expected)} objects; it is damaged or '
                         'truncated. Run tools/generate_images.py again.')


def summary(store: ShapeStore) -> str:
    """Return one line on how many objects are kept."""
    rows = [row for shard in range(store.num_shards) for row in store.rows(shard) if not row['problem']]
    kept = sum(row['kept'] is not False for row in rows)
    ranks = [row['rank'] for row in rows if row['rank'] is not None]
    first = f', own text first for {100 * np.mean(np.array(ranks) == 1):.1f} %' if ranks else ''
    return f'{kept} of {len(rows)} objects are kept{first}'


def write_keep_list(store: ShapeStore, path: str | Path) -> int:
    """Write the ``sample_id`` of each object that is kept, one a line, for ``keep_list`` and ``ann_file`` of datasets.

    Args:
        store: A filtered store.
        path: Text file to write.

    Returns:
        The number of objects.

    Raises:
        ValueError: The store is not filtered, or no object is kept.
    """
    rows = [row for shard in range(store.num_shards) for row in store.rows(shard) if not row['problem']]
    if any(row['kept'] is None for row in rows):
        raise ValueError(f'{store.root} has objects that were not filtered; filter it first')
    kept = [row['sample_id'] for row in rows if row['kept']]
    if not kept:
        raise ValueError(f'the filter rejected all {len(rows)} objects of {store.root}: {path} would be empty')
    with atomic_write(path) as unfinished:
        unfinished.write_text('\n'.join(kept) + '\n', encoding='utf-8')
    return len(kept)


def contact_sheet(store: ShapeStore, path: str | Path, each: int = 8) -> Path:
    """Draw the objects with the lowest and the highest scores, one row of images for each.

    Args:
        store: A filtered store.
        path: PNG file to write.
        each: Number of objects at either end.

    Raises:
        ValueError: No object has a score.
    """
    from ..visualization.sheets import draw_image_sheet
    rows = sorted((row['score'], shard, row['sample_id']) for shard in range(store.num_shards)
                  for row in store.rows(shard) if row['score'] is not None)
    if not rows:
        raise ValueError(f'no object of {store.root} has a score; filter it first')
    each = min(each, max(len(rows) // 2, 1))
    chosen = rows[:each] + rows[max(len(rows) - each, each):]
    wanted, found = {sample_id for _, _, sample_id in chosen}, {}
    for shard in sorted({shard for _, shard, _ in chosen}):
        found.update({shape.sample_id: shape for shape in store.read(shard) if shape.sample_id in wanted})
    images, titles = [], []
    places = [f'worst {place + 1}' for place in range(each)]
    places += [f'best {place}' for place in range(len(chosen) - each, 0, -1)]
    for place, (_, _, sample_id) in zip(places, chosen, strict=True):
        shape = found[sample_id]
        facts = shape.metadata
        images.append(shape.images())
        nearest = '' if facts['rank'] == 1 else f'\nnearest text: {facts["nearest_text"][:28]}'
        titles.append(f'{place}: {facts["text"][:28]}\n{sample_id[-28:]}\nscore {facts["score"]:.3f}, rank '
                      f'{facts["rank"]}, {"kept" if facts["kept"] else "rejected"}{nearest}')
    return draw_image_sheet(images, titles, path)
