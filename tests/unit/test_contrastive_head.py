"""DepthImageContrastiveHead: values, gradients, precision, and the batch of several processes."""
import math
import multiprocessing
import socket
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from opendlign_mm.models import DepthImageContrastiveHead
from opendlign_mm.models.contrastive_head import object_features


def pair(batch=6, dim=16, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    depth, image = F.normalize(torch.randn(2, batch, dim, generator=generator, dtype=dtype), dim=-1)
    return F.normalize(image + 0.7 * depth, dim=-1), image


def test_object_feature_weights_views_equally():
    views = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    views[:, 0] *= 1000  # a long view must not outweigh the others
    expected = F.normalize(F.normalize(views, dim=-1).mean(1), dim=-1)
    actual = object_features(views)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(actual.norm(dim=-1), torch.ones(2))
    shrunk = views.clone()
    shrunk[:, 0] /= 1000
    torch.testing.assert_close(object_features(shrunk), actual)


def test_losses_written_out(device):
    depth, image = (features.float().to(device) for features in pair())
    losses = DepthImageContrastiveHead().to(device).loss(depth, image, logit_scale=torch.tensor(20., device=device))
    probability = (20 * depth.double() @ image.double().T).exp()
    rows = -(probability.diagonal() / probability.sum(1)).log().mean()
    columns = -(probability.diagonal() / probability.sum(0)).log().mean()
    assert losses['loss_contrastive'].item() == pytest.approx((rows + columns).item() / 2, abs=1e-5)
    assert losses['loss_distance'].item() == pytest.approx((depth - image).square().mean().item(), abs=1e-7)
    assert losses['loss_contrastive'].device.type == device.type
    nearest = (depth @ image.T)
    target = torch.arange(6, device=device)
    assert losses['depth_to_image_accuracy'] == (nearest.argmax(1) == target).float().mean()
    assert losses['image_to_depth_accuracy'] == (nearest.argmax(0) == target).float().mean()


def test_accuracies_of_a_known_batch():
    depth = torch.eye(4)
    image = torch.eye(4)[[0, 1, 3, 2]]
    losses = DepthImageContrastiveHead().loss(depth, image, logit_scale=1.)
    assert losses['depth_to_image_accuracy'] == 0.5 and losses['image_to_depth_accuracy'] == 0.5
    assert DepthImageContrastiveHead().loss(depth, depth, 100.)['depth_to_image_accuracy'] == 1


def test_distances():
    depth, image = pair()
    l2 = DepthImageContrastiveHead(distance='l2', distance_weight=3.).loss(depth, image, 1.)
    assert l2['loss_distance'].item() == pytest.approx(3 * (depth - image).norm(dim=1).mean().item(), rel=1e-5)
    assert 'loss_distance' not in DepthImageContrastiveHead(distance=None).loss(depth, image, 1.)
    same = depth.clone().requires_grad_()
    DepthImageContrastiveHead(distance='l2').loss(same, depth, 1.)['loss_distance'].backward()
    assert same.grad.isfinite().all(), 'the norm has no gradient at zero'


def test_logit_scale_frozen_and_learnable():
    depth, image = pair()
    frozen = DepthImageContrastiveHead()
    assert not list(frozen.parameters())
    with pytest.raises(ValueError, match='pass logit_scale to loss'):
        frozen.loss(depth, image)
    fixed = DepthImageContrastiveHead(init_logit_scale=math.log(20))
    torch.testing.assert_close(fixed.loss(depth, image, logit_scale=77.), frozen.loss(depth, image, logit_scale=20.))

    head = DepthImageContrastiveHead(logit_scale='learnable')
    head.init_logit_scale_from(torch.tensor(math.log(20)))
    losses = head.loss(depth, image, logit_scale=77.)
    torch.testing.assert_close(losses['loss_contrastive'], frozen.loss(depth, image, 20.)['loss_contrastive'])
    losses['loss_contrastive'].backward()
    assert head.logit_scale.grad.abs() > 0
    # Given explicitly, it is not overwritten by CLIP's.
    explicit = DepthImageContrastiveHead('learnable', init_logit_scale=1.)
    explicit.init_logit_scale_from(torch.tensor(4.))
    assert explicit.logit_scale.item() == 1.


def test_learnable_scale_stays_below_100_and_comes_down_again():
    head = DepthImageContrastiveHead('learnable', init_logit_scale=9.)
    depth, image = pair()
    for _ in range(2):
        with torch.no_grad():
            head.logit_scale += 5
        assert head.current_logit_scale().item() == pytest.approx(100, rel=1e-5)
    head.loss(-depth, image)['loss_contrastive'].backward()
    assert head.logit_scale.grad > 0, 'a bad match must be able to lower it'


def test_autocast_does_not_round_the_loss(device):
    depth, image = (features.float().to(device) for features in pair(batch=64))
    head = DepthImageContrastiveHead().to(device)
    exact = head.loss(depth, image, 100.)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        inside = head.loss(depth, image, 100.)
    for name, value in exact.items():
        assert inside[name].dtype == torch.float32
        torch.testing.assert_close(inside[name], value, atol=0, rtol=0)


@pytest.mark.parametrize('options, message', [
    (dict(logit_scale='free'), "logit_scale must be 'frozen' or 'learnable'"),
    (dict(distance='cosine'), "distance must be 'mse', 'l2' or None"),
])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        DepthImageContrastiveHead(**options)


def test_wrong_shapes():
    depth, image = pair()
    with pytest.raises(ValueError, match=r'\(6, 16\) and \(5, 16\)'):
        DepthImageContrastiveHead().loss(depth, image[:5], 1.)


def _losses_and_gradients(head, weight, depth, image):
    losses = head.loss(F.normalize(depth @ weight, dim=-1), image)
    (losses['loss_contrastive'] + losses['loss_distance']).backward()
    return {name: value.detach() for name, value in losses.items()}


def _joint_batch(distance, rows=slice(None)):
    """Losses and gradients of some rows of one batch: (losses, d/d weight, d/d logit scale)."""
    depth, image = pair(dtype=torch.float32)
    head, weight = DepthImageContrastiveHead('learnable', distance=distance), torch.eye(16).requires_grad_()
    losses = head.loss(F.normalize(depth[rows] @ weight, dim=-1), image[rows])
    (losses['loss_contrastive'] + losses['loss_distance']).backward()
    return {name: value.detach() for name, value in losses.items()}, weight.grad, head.logit_scale.grad


def _half_of_the_batch(rank, port, folder):
    """Losses of one of two processes, and the mean of the gradients, as DistributedDataParallel takes it."""
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2,
                            timeout=timedelta(seconds=120))
    try:
        results = {}
        for distance in ('mse', 'l2'):
            results[distance] = _joint_batch(distance, slice(3 * rank, 3 * rank + 3))
            for gradient in results[distance][1:]:
                dist.all_reduce(gradient)
                gradient /= 2
        torch.save(results, f'{folder}/{rank}.pth')
    finally:
        dist.destroy_process_group()


def test_two_processes_equal_one_with_the_joint_batch(tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    other = multiprocessing.get_context('spawn').Process(target=_half_of_the_batch, args=(1, port, str(tmp_path)))
    other.start()
    _half_of_the_batch(0, port, str(tmp_path))
    other.join()
    assert other.exitcode == 0
    for rank in (0, 1):
        results = torch.load(tmp_path / f'{rank}.pth')
        for distance in ('mse', 'l2'):
            torch.testing.assert_close(results[distance], _joint_batch(distance), atol=1e-6, rtol=1e-5)
