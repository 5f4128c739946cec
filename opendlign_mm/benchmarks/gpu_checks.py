"""A device computes what the CPU computes: projection, point and box operations, branches, training, detection."""
import copy
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

from ..apis import SceneInferencer
from ..box_ops.points_in_boxes import points_in_boxes
from ..detection.proposals.given_boxes import write_boxes
from ..generation.random_parameters import BatchParameters, SeededParameters
from ..generation.shaded_texture import paint
from ..models import OpenDlign
from ..models.precision import Precision
from ..one_ahead import one_ahead
from ..point_ops import ball_query, furthest_point_sample, three_nn
from ..projection import ContourAwareProjection
from ..projection.contour_aware import Backend
from .busy_encoder import box_detector, given_boxes
from .detect import FIRST, THREE_DETR, room
from .measuring import Settings
from .models import cloud, random_model, random_views
from .stable_diffusion import diffusion_generator, pipeline_of_sd15

CPU = torch.device('cpu')
Differences = dict[str, float]


class CheckError(AssertionError):
    """A device computes something else than the CPU."""


def _at_most(found: Differences, **limits: float) -> Differences:
    """Return what was found, or raise if it is above its limit."""
    wrong = [f'{name} is {found[name]:.3g}, at most {limit:.3g} expected' for name, limit in limits.items()
             if not found[name] <= limit]
    if wrong:
        raise CheckError('; '.join(wrong))
    return found


def check_projection(device: torch.device, backend: Backend = 'auto') -> Differences:
    """Compare the depth views of an object and of a batch; single pixels may lie across a border of rounding."""
    project, clouds = ContourAwareProjection(), [cloud(count, CPU)[0] for count in (3000, 500)]
    there = ContourAwareProjection(backend=backend)
    views, expected = there([points.to(device) for points in clouds]).cpu(), project(clouds)
    difference = (views - expected).abs()
    return _at_most(dict(mean=difference.mean().item(), share_beyond_2_255=(difference > 2 / 255).float().mean().item(),
                         max=difference.max().item()), mean=1e-3, share_beyond_2_255=1e-3)


def check_optimized_images(device: torch.device) -> Differences:
    """Compare images by compiled networks in half precision with those by the networks as they are.

    On a CPU nothing is compiled: nothing to compare.
    """
    if device.type != 'cuda' or not find_spec('diffusers'):
        return {}
    from ..generation.image_prompts import ImagePrompt
    init_default_scope('mmdet3d')
    views, prompts = torch.rand(2, 64, 64), [ImagePrompt('a chair', 'blurry')] * 2
    # The noise of a seed is another one in float32, so that images in float32 are other ones. Guided steps of random
    # networks amplify rounding: on a CPU bfloat16, eight times as coarse, gives 7.8, and another seed more than 40.
    images = [diffusion_generator(pipeline_of_sd15(small=True), 64, dtype='float16', optimize=optimize, num_steps=4,
                                  pass_size=2).to(device)(views, [1, 2], prompts).float() for optimize in (True, False)]
    return _at_most(dict(mean=(images[0] - images[1]).abs().mean().item(), contrast=images[1].std().item()), mean=4)


def check_triton_projection(device: torch.device) -> Differences:
    """Compare the depth views by the Triton backend, which takes CUDA tensors; others have nothing to compare."""
    return check_projection(device, 'triton') if device.type == 'cuda' else {}


def check_point_operations(device: torch.device) -> Differences:
    """Compare sampling, neighbors and points in boxes: shares of the indices that differ."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 4000, 3, generator=generator)
    sampled = furthest_point_sample(points, 64)
    centers = points[:, :64].contiguous()
    boxes = torch.cat([torch.rand(32, 3, generator=generator), .1 + .3 * torch.rand(32, 3, generator=generator),
                       6 * torch.rand(32, 1, generator=generator)], dim=1)
    there, queries = points.to(device), centers.to(device)

    def share(found: torch.Tensor, expected: torch.Tensor) -> float:
        return (found.cpu() != expected).float().mean().item()

    found = dict(
        furthest_points=share(furthest_point_sample(there, 64), sampled),
        ball_query=share(ball_query(there, queries, .1, 16), ball_query(points, centers, .1, 16)),
        three_nn=share(three_nn(there, queries)[1], three_nn(points, centers)[1]),
        points_in_boxes=share(points_in_boxes(there[0], boxes.to(device)), points_in_boxes(points[0], boxes)))
    return _at_most(found, furthest_points=.05, ball_query=1e-3, three_nn=1e-3, points_in_boxes=1e-4)


def _pair(device: torch.device, precision: Precision = 'fp32') -> tuple[OpenDlign, OpenDlign]:
    """Return the same small model on the device and on the CPU."""
    return (random_model('ViT-B-32', precision, Settings(device, quick=True)),
            random_model('ViT-B-32', 'fp32', Settings(CPU, quick=True)))


def check_branches(device: torch.device) -> Differences:
    """Compare the features of both branches in float32 and in bfloat16."""
    found = {}
    for precision in ('fp32', 'bf16'):
        model, reference = _pair(device, precision)
        views = random_views(reference, 4)
        features = model.encode_views(views.to(device), ('pretrained', 'tuned'))
        expected = reference.encode_views(views, ('pretrained', 'tuned'))
        found[precision] = 1 - min(F.cosine_similarity(features[name].cpu(), expected[name], dim=-1).min().item()
                                   for name in expected)
    return _at_most(found, fp32=1e-4, bf16=1e-2)


def check_training_step(device: torch.device) -> Differences:
    """Compare losses and gradients of a step of alignment."""
    model, reference = (each.train() for each in _pair(device))
    inputs = dict(depth_views=random_views(reference, 4), images=random_views(reference, 4, channels=3))
    sums = []
    for each, place in ((model, device), (reference, CPU)):
        losses = each({name: value.to(place) for name, value in inputs.items()}, mode='loss')
        sums.append(sum(value for name, value in losses.items() if name.startswith('loss')))
        sums[-1].backward()
    gradients = [torch.cat([value.grad.flatten().cpu() for value in each.parameters() if value.grad is not None])
                 for each in (model, reference)]
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    return _at_most(dict(loss=abs(sums[0].item() - sums[1].item()), gradients=error.item()), loss=1e-3, gradients=1e-2)


@torch.no_grad()
def check_3detr(device: torch.device) -> Differences:
    """Compare the boxes of a 3DETR-m with random weights."""
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    small = dict(copy.deepcopy(THREE_DETR), num_queries=32)
    model, points = MODELS.build(small).eval(), torch.from_numpy(room(8000))
    expected = model.predict_boxes([points])
    found = model.to(device).predict_boxes([points.to(device)])
    return _at_most({name: ((found[name].cpu() - value).abs().median() / value.abs().max().clamp(min=1e-6)).item()
                     for name, value in expected.items()}, center=1e-3, size=1e-2, cls_logits=1e-2)


def check_detection(device: torch.device) -> Differences:
    """Compare the boxes and names of a room by the packaged model and clusters."""
    points = room(6000)
    found, expected = ([box for box in SceneInferencer(device=place, show_progress=False, precision='fp32')(
        points, FIRST, up='z', units='m')['predictions'][0]['boxes']] for place in (device, CPU))
    if len(found) != len(expected) or not expected:
        raise CheckError(f'{len(found)} boxes instead of {len(expected)}')
    scores = max(abs(one['score'] - other['score']) for one, other in zip(found, expected, strict=True))
    labels = sum(one['label'] != other['label'] for one, other in zip(found, expected, strict=True)) / len(found)
    return _at_most(dict(scores=scores, other_labels=labels, boxes=len(found)), scores=.02, other_labels=.05)


def check_drawn_images(device: torch.device) -> Differences:
    """Compare procedural images of the same parameters, and how bright those are that a device draws for itself."""
    depth = torch.rand(64, 112, 112, generator=torch.Generator().manual_seed(0))
    depth[:, :40] = 1.

    class Moved:
        def __init__(self) -> None:
            self.source = SeededParameters(range(64))

        def __getattr__(self, name: str) -> Callable[..., torch.Tensor]:
            return lambda *bounds: getattr(self.source, name)(*bounds).to(device)

    expected = paint(depth, SeededParameters(range(64)))
    same = paint(depth.to(device), Moved()).cpu()
    own = paint(depth.to(device), BatchParameters(64, device)).cpu()
    return _at_most(dict(same=(same - expected).abs().max().item(),
                         brightness=(own.mean() - expected.mean()).abs().item()), same=1e-3, brightness=.08)


@torch.no_grad()
def check_views_one_ahead(device: torch.device) -> Differences:
    """Compare features of boxes whose views are made while others are encoded with those of views made before.

    Then numbers that two streams work on for a while: memory that one of them uses too early would change them.
    """
    points, found = room(8000), {}
    boxes = given_boxes(points, 100)
    with tempfile.TemporaryDirectory() as folder:
        write_boxes(Path(folder) / 'room.npz', boxes)
        features = []
        for place, model in zip((device, CPU), _pair(device), strict=True):
            detector = box_detector(model, dict(resolution=32, depth_bins=16), folder)
            _, crops = detector.crop_proposals(torch.from_numpy(points).to(place), boxes.to(place))
            features.append(model.encode_for_classes(detector.depth_views(crops)))
            if place == device:
                found['parts'] = max((detector.depth_features(crops) - features[0]).abs().max().item()
                                     for _ in range(5))
    found['devices'] = 1 - F.cosine_similarity(features[0].cpu(), features[1], dim=-1).min().item()

    def prepare(number: int) -> torch.Tensor:
        values = torch.full((1 << (22 if device.type == 'cuda' else 10), ), float(number), device=device)
        for _ in range(50):
            values = values + 1
        return values

    errors = []
    for number, values in enumerate(one_ahead(prepare, range(40), device)):
        for _ in range(50):
            values = values - 1
        errors.append((values - number).abs().max())
    found['numbers'] = torch.stack(errors).max().item()
    return _at_most(found, parts=1e-3, devices=1e-2, numbers=0)


def check_process_group(device: torch.device) -> Differences:
    """Join a group of one process (NCCL on a GPU), gather, and take a step through DistributedDataParallel."""
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group('nccl' if device.type == 'cuda' else 'gloo', rank=0, world_size=1,
                                init_method=f'file://{Path(folder) / "group"}')
        try:
            value = torch.arange(4., device=device)
            gathered = [torch.empty_like(value)]
            dist.all_gather(gathered, value)
            dist.all_reduce(value)
            layer = torch.nn.Linear(4, 1).to(device)
            torch.nn.parallel.DistributedDataParallel(layer)(value[None]).sum().backward()
            assert layer.weight.grad is not None
            error = (gathered[0] - value).abs().max() + (layer.weight.grad[0] - value).abs().max()
        finally:
            dist.destroy_process_group()
    return _at_most(dict(error=error.item()), error=1e-6)


CHECKS: dict[str, Callable[[torch.device], Differences]] = {
    'projection': check_projection, 'projection by Triton': check_triton_projection,
    'optimized images': check_optimized_images,
    'point operations': check_point_operations, 'branches': check_branches,
    'training step': check_training_step, '3DETR': check_3detr, 'detection': check_detection,
    'drawn images': check_drawn_images, 'views one ahead': check_views_one_ahead,
    'process group': check_process_group}
