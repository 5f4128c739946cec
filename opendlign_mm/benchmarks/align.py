"""Suite ``align``: steps of alignment from images, from stored image features and from stored tokens."""
from collections.abc import Callable, Iterator
from functools import partial

import torch

from ..models import OpenDlign
from ..models.precision import resolve_precision
from .measuring import Curve, Row, Settings, compare, grow
from .models import random_model, random_views
from .released import ReleasedAlignment

CLIP = 'ViT-B-32'


def rows(settings: Settings) -> Iterator[Row]:
    """Measure steps of training against the released one, which computes everything in each epoch."""
    on_gpu = settings.device.type == 'cuda'
    sizes = ((CLIP, 64), ('ViT-H-14-quickgelu', 8)) if on_gpu else ((CLIP, 4), )
    for clip, objects in settings.pick(sizes, ((CLIP, 2), )):
        yield from _steps(clip, objects, settings)


def _steps(clip: str, objects: int, settings: Settings) -> Iterator[Row]:
    ours, plain = random_model(clip, 'auto', settings), random_model(clip, 'fp32', settings)
    depth_views, images = random_views(ours, objects), random_views(ours, objects, channels=3)
    released = ReleasedAlignment(plain.backbone, settings.against)
    head = plain.needed(plain.alignment_head, 'alignment_head', "mode 'loss'")
    other = _step(plain, lambda: head.loss(
        *released(depth_views.unsqueeze(2).expand(-1, -1, 3, -1, -1), images),
        logit_scale=plain.backbone.logit_scale.exp()))
    dtype = str(resolve_precision('auto', settings.device)).removeprefix('torch.')
    for what, inputs in _inputs(ours, depth_views, images).items():
        step = _step(ours, partial(ours.loss, inputs))
        seconds, other_seconds, ratio = compare(step, other, settings)
        facts = {'peak_memory_gb': _peak_memory(step, plain, settings),
                 'other_peak_memory_gb': _peak_memory(other, ours, settings)} if settings.device.type == 'cuda' else {}
        yield Row('align', f'step of alignment {what}, {clip}, {objects} objects', seconds / objects, 'object', dtype,
                  f'{released.label}, float32', other_seconds / objects, ratio, facts=facts)


def _inputs(model: OpenDlign, depth_views: torch.Tensor, images: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
    """Return the inputs of a step in the first epoch and, where features or tokens are stored, in later ones."""
    found = {'from images': dict(depth_views=depth_views, images=images)}
    with torch.no_grad():
        features = model.encode_views(images, 'pretrained')
        found['with stored image features'] = dict(depth_views=depth_views, image_features=features)
        flat = depth_views.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)
        tokens = {name: value.unflatten(0, depth_views.shape[:2])
                  for name, value in model.backbone.trunk_tokens(flat).items()}
        found['with stored tokens (from epoch 2)'] = dict(tokens, image_features=features)
    return found


def _step(model: OpenDlign, losses: Callable[[], dict[str, torch.Tensor]]) -> Callable[[], None]:
    """Return a step of training: losses, gradients, update."""
    model.train()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-5)

    def step() -> None:
        loss = sum((value for name, value in losses().items() if name.startswith('loss')), start=torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _peak_memory(step: Callable[[], None], unused: OpenDlign, settings: Settings) -> float:
    """Return the largest memory of the GPU in a step in GB, weights included but for those of the model not in use."""
    torch.cuda.reset_peak_memory_stats(settings.device)
    step()
    weights = sum(value.numel() * value.element_size() for value in unused.parameters())
    return (torch.cuda.max_memory_allocated(settings.device) - weights) / 1e9


def curves(settings: Settings) -> Iterator[Curve]:
    """Measure growing batches of a step with stored image features."""
    model = random_model(CLIP, 'auto', settings)

    def of_objects(count: int) -> Callable[[], None]:
        views = random_views(model, count)
        with torch.no_grad():
            features = model.encode_views(views, 'pretrained')
        inputs = dict(depth_views=views, image_features=features)
        return _step(model, lambda: model(inputs, mode='loss'))

    yield grow('align', 'step with stored image features', 'objects of a batch',
               settings.pick((2, 4, 8), (2, )), of_objects, settings)
