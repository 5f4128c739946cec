"""Suite ``encode``: zero-shot classification of depth views, the point encoders of compared systems, vocabularies."""
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from ..apis import ShapeInferencer
from ..datasets.procedural import CATEGORIES
from ..models.compiled_steps import Compiled
from ..models.image_branches import BRANCHES
from ..models.precision import resolve_precision
from ..projection import ContourAwareProjection
from .limits import count_operations, matmul_rate, peak_of_data_sheet
from .measuring import Curve, Row, Settings, compare, grow, median_seconds
from .models import NUM_VIEWS, cloud, random_model, random_views
from .parts_of_block import parts_of_block
from .released import PLAIN, released_scores

CLIPS = ('ViT-B-32', 'ViT-B-16')
LARGE = 'ViT-H-14-quickgelu'
# Name -> class in ``point_encoders``, options, points of a cloud.
ENCODERS = {'PointBERT (ULIP)': ('PointBERT', {}, 8192),
            'PointPatchTransformer (OpenShape, TAMM)': ('PointPatchTransformer', {}, 10000),
            'SparseResNet, torch': ('SparseResNet', dict(engine='torch'), 10000),
            'SparseResNet, spconv': ('SparseResNet', dict(engine='spconv'), 10000)}


@torch.no_grad()
def rows(settings: Settings) -> Iterator[Row]:
    """Measure the scores of objects by both branches with ``precision='auto'``, then encoders of points."""
    for clip in settings.pick(CLIPS, CLIPS[:1]):
        yield from _zero_shot(clip, settings, {'': False})
    yield _packaged_model(settings)
    if settings.device.type == 'cuda':
        yield from parts_of_block(settings)
        yield from _zero_shot(LARGE, settings, {'': False, ', compiled': True, ", compiled='tuned'": 'tuned'})
    for name in settings.pick(tuple(ENCODERS), ()):
        yield from _point_encoder(name, settings)


def _zero_shot(clip: str, settings: Settings, variants: dict[str, Compiled]) -> Iterator[Row]:
    on_gpu, dtype = settings.device.type == 'cuda', resolve_precision('auto', settings.device)
    ours, plain = random_model(clip, 'auto', settings), random_model(clip, 'fp32', settings)
    objects = settings.pick(64 if on_gpu else 2, 1)
    few = min(objects, 4 if clip == LARGE else 32)  # for the other side: float32 takes too long on all of them
    views = random_views(ours, objects)
    texts = F.normalize(torch.randn(len(CATEGORIES), ours.backbone.embed_dim, device=settings.device), dim=-1)
    ours.class_features = lambda of=None: texts  # type: ignore  # texts are encoded once for a test

    def released() -> torch.Tensor:
        return released_scores(plain.backbone, views[:few].unsqueeze(2).expand(-1, -1, 3, -1, -1), texts)

    operations = count_operations(lambda: plain.encode_views(views[:few], BRANCHES)) / few
    expected, labels = plain.encode_views(views[:few], BRANCHES), released().argmax(1)
    rate = {each: matmul_rate(settings.device, each, settings.quick) for each in (dtype, torch.float32)}
    peak = peak_of_data_sheet(settings.device)
    for name, compiled in variants.items():
        ours.backbone.compiled = compiled
        begin = time.perf_counter()
        features = ours.encode_views(views[:few], BRANCHES)
        facts: dict[str, Any] = dict(
            least_cosine=min(F.cosine_similarity(features[each], expected[each], dim=-1).min().item()
                             for each in features),
            same_scores=bool((ours.zero_shot(views)[:few].argmax(1) == labels).all()),
            seconds_of_first_calls=time.perf_counter() - begin)
        seconds, other, ratio = compare(lambda: ours.zero_shot(views), released, settings)
        facts |= dict(views_per_second=objects * NUM_VIEWS / seconds, gigaflop_of_an_object=operations / 1e9,
                      matmul_ratio_of_dtypes=rate[dtype] / rate[torch.float32])
        if peak is not None:
            facts['share_of_data_sheet'] = operations * objects / seconds / peak
        yield Row('encode', f'zero-shot scores, {clip}{name}', seconds / objects, 'object',
                  str(dtype).removeprefix('torch.'), f'{PLAIN}, float32', other / few, ratio * objects / few,
                  operations / rate[dtype], facts)


def _packaged_model(settings: Settings) -> Row:
    """Compare the classes that the packaged model, which is trained, gives built-in objects in both precisions."""
    dtype = resolve_precision('auto', settings.device)
    ours, plain = (ShapeInferencer(device=settings.device, precision=precision, show_progress=False).model
                   for precision in ('auto', 'fp32'))
    for model in (ours, plain):
        model.set_vocabulary(CATEGORIES)
    clouds = [cloud(2000, settings.device, category, seed)[0] for category in CATEGORIES
              for seed in range(settings.pick(20, 1))]
    views = ContourAwareProjection(resolution=plain.backbone.image_size[0])(clouds)
    few = views[:16]
    seconds, other, ratio = compare(lambda: ours.zero_shot(few), lambda: plain.zero_shot(few), settings)
    features, expected = (model.encode_views(views, BRANCHES) for model in (ours, plain))
    same = ours.scores_of_features(features).argmax(1) == plain.scores_of_features(expected).argmax(1)
    return Row('encode', f'zero-shot scores, packaged model, {len(views)} objects', seconds / len(few), 'object',
               str(dtype).removeprefix('torch.'), 'the same in float32', other / len(few), ratio,
               facts=dict(share_of_same_classes=same.float().mean().item(),
                          least_cosine=min(F.cosine_similarity(features[name], expected[name], dim=-1).min().item()
                                           for name in features)))


def _point_encoder(name: str, settings: Settings) -> Iterator[Row]:
    from .. import point_encoders
    kind, options, points = ENCODERS[name]
    clouds = settings.pick(2, 1)
    directions = F.normalize(torch.randn(clouds, points, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    surface = (directions * torch.tensor([1., .7, .4])).to(settings.device)
    try:
        encoder = getattr(point_encoders, kind)(**options).to(settings.device).eval()
    except ImportError:  # spconv is not installed
        return
    seconds = median_seconds(lambda: encoder(surface), settings)
    yield Row('encode', f'{name}, {points:,} points', seconds / clouds, 'cloud')


@torch.no_grad()
def curves(settings: Settings) -> Iterator[Curve]:
    """Measure a growing number of classes: the scores of one object whose views are encoded."""
    model = random_model(CLIPS[0], 'fp32', settings)
    head, dimension = model.head_for('zero-shot classification'), model.backbone.embed_dim
    features = F.normalize(torch.randn(1, 10, dimension, device=settings.device), dim=-1)

    def of_classes(count: int) -> Callable:
        texts = F.normalize(torch.randn(count, dimension, device=settings.device), dim=-1)
        return lambda: head.scores(texts, pretrained=features, tuned=features)

    yield grow('encode', 'scores of an encoded object', 'classes',
               settings.pick((10, 100, 1000, 5000, 20000), (10, 20)), of_classes, settings)
