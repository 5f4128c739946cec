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
    other = Step(plain, lambda: head.loss(
        *released(depth_views.unsqueeze(2).expand(-1, -1, 3, -1, -1), images),
        logit_scale=plain.backbone.logit_scale.exp()))
    dtype = str(resolve_precision('auto', settings.device)).removeprefix('torch.')
    for what, inputs in _inputs(ours, depth_views, images):
        step = Step(ours, partial(ours.loss, inputs))
        seconds, other_seconds, ratio = compare(step, other, settings)
        facts = {'peak_memory_gb': _peak_memory(step, other, settings),
                 'other_peak_memory_gb': _peak_memory(other, step, settings)} if settings.device.type == 'cuda' else {}
        yield Row('align', f'step of alignment {what}, {clip}, {objects} objects', seconds / objects, 'object', dtype,
                  f'{released.label}, float32', other_seconds / objects, ratio, facts=facts)


def _inputs(model: OpenDlign, depth_views: torch.Tensor,
            images: torch.Tensor) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield the inputs of a step in the first epoch, and in later ones where features or tokens are stored.

    Each is made when its turn comes, so that the memory of the first steps is measured without tokens.
    """
    yield 'from images', dict(depth_views=depth_views, images=images)
    with torch.no_grad():
        features = model.encode_views(images, 'pretrained')
    yield 'with stored image features', dict(depth_views=depth_views, image_features=features)
    with torch.no_grad():
        flat = depth_views.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)
        tokens = {name: value.unflatten(0, depth_views.shape[:2])
                  for name, value in model.backbone.trunk_tokens(flat).items()}
    yield 'with stored tokens (from epoch 2)', dict(tokens, image_features=features)


class Step:
    """A step of training: losses, gradients, update.

    Args:
        model: What is trained; it is set to training mode.
        losses: Returns its losses.
    """

    def __init__(self, model: OpenDlign, losses: Callable[[], dict[str, torch.Tensor]]) -> None:
        self.model, self.losses = model.train(), losses
        self.optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-5)

    def __call__(self) -> None:
        """Take the step."""
        loss = sum((value for name, value in self.losses().items() if name.startswith('loss')), start=torch.zeros(()))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def memory_between_steps(self) -> int:
        """Return the bytes on the model's device of weights, gradients and the optimizer's state."""
        parameters = list(self.model.parameters())
        gradients = [value.grad for value in parameters if value.grad is not None]
        states = [value for state in self.optimizer.state.values() for value in state.values()
                  if torch.is_tensor(value) and value.dim()]  # AdamW counts its steps on the CPU
        return sum(value.numel() * value.element_size() for value in (*parameters, *gradients, *states))


def _peak_memory(step: Step, other: Step, settings: Settings) -> float:
    """Return the largest memory of the GPU in a step in GB, without what the other step keeps there."""
    torch.cuda.reset_peak_memory_stats(settings.device)
    step()
    return (torch.cuda.max_memory_allocated(settings.device) - other.memory_between_steps()) / 1e9


def curves(settings: Settings) -> Iterator[Curve]:
    """Measure growing batches of a step with stored image features."""
    model = random_model(CLIP, 'auto', settings)

    def of_objects(count: int) -> Callable[[], None]:
        views = random_views(model, count)
        with torch.no_grad():
            features = model.encode_views(views, 'pretrained')
        inputs = dict(depth_views=views, image_features=features)
        return Step(model, lambda: model(inputs, mode='loss'))

    yield grow('align', 'step with stored image features', 'objects of a batch',
               settings.pick((2, 4, 8), (2, )), of_objects, settings)
