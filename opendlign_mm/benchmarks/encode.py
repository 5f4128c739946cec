"""Suite ``encode``: zero-shot classification of depth views, the point encoders of compared systems, vocabularies."""
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from ..datasets.procedural import CATEGORIES
from ..models.precision import resolve_precision
from .limits import count_operations, least_seconds, matmul_rate
from .measuring import Curve, Row, Settings, compare, grow, median_seconds
from .models import random_model, random_views
from .released import PLAIN, released_scores

CLIPS = ('ViT-B-32', 'ViT-B-16')
# Name -> class in ``point_encoders``, options, points of a cloud.
ENCODERS = {'PointBERT (ULIP)': ('PointBERT', {}, 8192),
            'PointPatchTransformer (OpenShape, TAMM)': ('PointPatchTransformer', {}, 10000),
            'SparseResNet, torch': ('SparseResNet', dict(engine='torch'), 10000),
            'SparseResNet, spconv': ('SparseResNet', dict(engine='spconv'), 10000)}


@torch.no_grad()
def rows(settings: Settings) -> Iterator[Row]:
    """Measure the scores of objects by both branches with ``precision='auto'``, then encoders of points."""
    for clip in settings.pick((*CLIPS, *(['ViT-H-14-quickgelu'] if settings.device.type == 'cuda' else [])), CLIPS[:1]):
        yield _zero_shot(clip, settings)
    for name in settings.pick(tuple(ENCODERS), ()):
        yield from _point_encoder(name, settings)


def _zero_shot(clip: str, settings: Settings) -> Row:
    ours, plain = random_model(clip, 'auto', settings), random_model(clip, 'fp32', settings)
    objects = settings.pick(32 if settings.device.type == 'cuda' else 2, 1)
    views = random_views(ours, objects)
    texts = F.normalize(torch.randn(len(CATEGORIES), ours.backbone.embed_dim, device=settings.device), dim=-1)
    ours.class_features = lambda of=None: texts  # type: ignore  # texts are encoded once for a test

    def released() -> torch.Tensor:
        return released_scores(plain.backbone, views.unsqueeze(2).expand(-1, -1, 3, -1, -1), texts)

    seconds, other, ratio = compare(lambda: ours.zero_shot(views), released, settings)
    dtype = resolve_precision('auto', settings.device)
    features, expected = (model.encode_views(views, ('pretrained', 'tuned')) for model in (ours, plain))
    cosine = min(F.cosine_similarity(features[name], expected[name], dim=-1).min().item() for name in features)
    operations = count_operations(lambda: plain.zero_shot(views))
    rate = {each: matmul_rate(settings.device, each, settings.quick) for each in (dtype, torch.float32)}
    return Row('encode', f'zero-shot scores, {clip}', seconds / objects, 'object', str(dtype).removeprefix('torch.'),
               f'{PLAIN}, float32', other / objects, ratio,
               least_seconds(settings.device, dtype, operations / objects, quick=settings.quick),
               dict(least_cosine=cosine, gigaflop_of_an_object=operations / objects / 1e9,
                    same_scores=bool((ours.zero_shot(views).argmax(1) == released().argmax(1)).all()),
                    matmul_ratio_of_dtypes=rate[dtype] / rate[torch.float32]))


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
