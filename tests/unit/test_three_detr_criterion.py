"""Matching and losses of 3DETR against numbers computed by hand."""
import math

import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes

from opendlign_mm.detection.three_detr.box_coder import SceneBounds
from opendlign_mm.detection.three_detr.criterion import HungarianMatcher, SceneTargets, SetCriterion

LN2 = math.log(2)
UNIT = [0., 0, 0, 1, 1, 1, 0]
HALF_OFF = [.5, 0, 0, 1, 1, 1, 0]  # IoU with UNIT: 0.5 / 1.5; the union fills the enclosing box: GIoU 1 / 3


def targets_of(boxes, labels, centers=None, bins=None, residuals=None):
    """Targets in a scene from -1 to 1 m, unless centers are given."""
    boxes = torch.tensor(boxes).reshape(-1, 7)
    count = len(boxes)
    return SceneTargets(
        torch.tensor(labels, dtype=torch.long), boxes,
        (boxes[:, :3] + 1) / 2 if centers is None else torch.tensor(centers), boxes[:, 3:6] / 2,
        torch.zeros(count, dtype=torch.long) if bins is None else torch.tensor(bins),
        torch.zeros(count) if residuals is None else torch.tensor(residuals))


def predictions_of(boxes, probabilities, objectness=None, angle_logits=None, residuals=None):
    """Predictions (L, B, K, ...) from nested lists of boxes and class probabilities, in a scene from -1 to 1 m."""
    boxes, probabilities = torch.tensor(boxes), torch.tensor(probabilities)
    bins = 1 if angle_logits is None else len(angle_logits[0][0][0])
    return dict(
        cls_logits=probabilities.log(), center=boxes[..., :3], size=boxes[..., 3:6], angle=boxes[..., 6],
        objectness=1 - probabilities[..., -1] if objectness is None else torch.tensor(objectness),
        normalized_center=(boxes[..., :3] + 1) / 2, normalized_size=boxes[..., 3:6] / 2,
        angle_logits=torch.zeros(*boxes.shape[:-1], 1) if angle_logits is None else torch.tensor(angle_logits),
        normalized_residual=torch.zeros(*boxes.shape[:-1], bins) if residuals is None else torch.tensor(residuals))


# --- matching -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('weights, expected', [
    (dict(cls=1., giou=0.), -.5), (dict(cls=0., giou=1.), -1 / 3), (dict(cls=0., giou=0., center=1.), .25),
    (dict(cls=0., giou=0., objectness=1.), -.75), (dict(cls=1., giou=3., center=5., objectness=5.), -4.),
    (dict(), -.5 - 2 / 3)])
def test_cost_is_the_weighted_sum_of_its_terms(weights, expected):
    """One pair: class probability 0.5, objectness 0.75, centers 0.25 apart (normalized), GIoU 1 / 3."""
    predictions = predictions_of([[[HALF_OFF]]], [[[[.25, .5, .25]]]], objectness=[[[.75]]])
    predictions['boxes'] = torch.tensor([[[HALF_OFF]]])
    cost = HungarianMatcher(**weights).cost(predictions, 0, targets_of(UNIT, [1]), rotated=False)
    assert cost.shape == (1, 1, 1) and cost.item() == pytest.approx(expected)


def test_far_centers_cost_more_and_all_axes_count():
    predictions = predictions_of([[[[0., 0, 0, 1, 1, 1, 0], [.2, .4, .6, 1, 1, 1, 0], [-.2, -.4, -.6, 1, 1, 1, 0]]]],
                                 [[[[.5, .5]] * 3]])
    cost = HungarianMatcher(cls=0., giou=0., center=2.).cost(predictions, 0, targets_of(UNIT, [0]), rotated=False)
    torch.testing.assert_close(cost[0, :, 0], torch.tensor([0., 1.2, 1.2]))


@pytest.mark.parametrize('decisive, chosen', [('cls', 2), ('giou', 1), ('center', 3), ('objectness', 0)])
def test_each_term_alone_decides_the_matching(decisive, chosen):
    """Of four queries each is the best one by one of the terms."""
    boxes = [[.9, .9, .9, .1, .1, .1, 0], UNIT, [.8, .8, .8, .1, .1, .1, 0], [.5, 0, 0, .1, .1, .1, 0]]
    probabilities = [[.1, .9], [.2, .8], [.7, .3], [.3, .7]]
    predictions = predictions_of([[boxes]], [[probabilities]], objectness=[[[.9, .1, .2, .3]]])
    predictions['boxes'] = torch.tensor([[boxes]])
    targets = targets_of(UNIT, [0], centers=[[.75, .5, .5]])  # of the terms only the distance uses normalized centers
    weights = dict(dict(cls=0., giou=0., center=0., objectness=0.), **{decisive: 1.})
    layer, scene, query, box = HungarianMatcher(**weights)(predictions, [targets], rotated=False)
    assert (layer.tolist(), scene.tolist(), query.tolist(), box.tolist()) == ([0], [0], [chosen], [0])


def test_matching_is_one_to_one_for_each_layer_and_scene():
    """Scene 0 has no box, scene 1 has two; the layers exchange the queries. Rotation decides between equal places."""
    first, second = [0., 0, 0, 1, .2, 1, .5], [0., 0, 0, 1, .2, 1, -.5]
    layers = [[[UNIT, UNIT, UNIT], [first, second, UNIT]], [[UNIT, UNIT, UNIT], [UNIT, first, second]]]
    predictions = predictions_of(layers, [[[[.5, .5]] * 3] * 2] * 2)
    predictions['boxes'] = torch.tensor(layers)
    targets = [targets_of([], []), targets_of([second, first], [0, 0])]
    layer, scene, query, box = HungarianMatcher()(predictions, targets, rotated=True)
    assert sorted(zip(layer.tolist(), scene.tolist(), query.tolist(), box.tolist(), strict=True)) == [
        (0, 1, 0, 1), (0, 1, 1, 0), (1, 1, 1, 1), (1, 1, 2, 0)]


# --- targets --------------------------------------------------------------------------------------------------------

def test_targets_by_hand():
    bounds = SceneBounds(torch.tensor([[9., 9, 9], [1., 2, 3]]), torch.tensor([[1., 1, 1], [2., 4, 5]]))
    boxes = DepthInstance3DBoxes(torch.tensor([[2., 3, 4, 1, 2, 2.5, math.pi / 2 + .1], [1., 2, 3, 1, 1, 1, 0]]),
                                 origin=(.5, .5, .5))
    targets = SceneTargets.of(boxes, torch.tensor([2, -1]), bounds, 1, 3, 4, False)
    assert targets.labels.tolist() == [2]
    torch.testing.assert_close(targets.boxes, torch.tensor([[2., 3, 4, 1, 2, 2.5, math.pi / 2 + .1]]))
    torch.testing.assert_close(targets.normalized_centers, torch.tensor([[.5, .25, .2]]))
    torch.testing.assert_close(targets.normalized_sizes, torch.tensor([[.5, .5, .5]]))
    assert targets.angle_bins.tolist() == [1]
    torch.testing.assert_close(targets.normalized_residuals, torch.tensor([.1 / (math.pi / 4)]))
    aligned = SceneTargets.of(boxes, torch.tensor([2, -1]), bounds, 1, 3, 1, False)
    assert aligned.boxes[0, 6] == 0 and aligned.angle_bins.tolist() == [0] and not aligned.normalized_residuals.any()
    agnostic = SceneTargets.of(boxes, torch.tensor([2, 0]), bounds, 1, 1, 1, True)
    assert agnostic.labels.tolist() == [0, 0]
    assert SceneTargets.of(boxes, torch.tensor([1, 2]), bounds, 0, 3, 1, False).labels.tolist() == [1, 2]
    with pytest.raises(ValueError, match='label 3.*3 classes'):
        SceneTargets.of(boxes, torch.tensor([3, 0]), bounds, 0, 3, 1, False)


# --- losses ---------------------------------------------------------------------------------------------------------

def test_losses_by_hand():
    """One matched query of three. Background counts a quarter in the cross-entropy; the rest is summed over axes."""
    far = [.9, .9, .9, .1, .1, .1, 0]
    predictions = predictions_of([[[far, [.5, .1, 0, 1, 1, .8, 0], far]]], [[[[.25, .75], [.5, .5], [.125, .875]]]])
    losses = SetCriterion()(predictions, [targets_of(UNIT, [0])])
    background = -.25 * (math.log(.75) + math.log(.875))
    expected = dict(
        loss_cls=(LN2 + background) / 1.5, loss_center=5 * (.25 + .05), loss_size=.1, loss_angle_cls=0.,
        loss_angle_residual=0., cardinality_error=0.)
    shared, union, enclosing = .5 * .9 * .8, 1 + .8 - .5 * .9 * .8, 1.5 * 1.1
    expected['loss_giou'] = 1 - (shared / union - (1 - union / enclosing))
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, abs=1e-6)
    doubled = SetCriterion(background_weight=.5, weights=dict(cls=2.))(predictions, [targets_of(UNIT, [0])])
    assert doubled['loss_cls'].item() == pytest.approx(2 * (LN2 + 2 * background) / 2)


def test_angle_losses_by_hand():
    """Two bins: cross-entropy of the bin, Huber loss of the residual of the annotated bin (linear beyond 1)."""
    predictions = predictions_of(
        [[[UNIT, HALF_OFF]]], [[[[.5, .5], [.5, .5]]]], angle_logits=[[[[math.log(3), 0.], [0., 0.]]]],
        residuals=[[[[5., .5], [-2., 5.]]]])
    targets = targets_of([UNIT, HALF_OFF], [0, 0], bins=[1, 0], residuals=[.1, .5])
    losses = SetCriterion(weights=dict(angle_cls=1., angle_residual=2.))(predictions, [targets])
    assert losses['loss_angle_cls'].item() == pytest.approx((math.log(4) + LN2) / 2)
    assert losses['loss_angle_residual'].item() == pytest.approx(2 * (.5 * .4**2 + (2.5 - .5)) / 2)


def test_losses_of_layers_and_scenes():
    """Sums over all pairs are divided by the number of boxes of the batch; ``d0.`` marks the layer before the last."""
    layers = [[[HALF_OFF, UNIT]] * 2, [[UNIT, HALF_OFF]] * 2]
    predictions = predictions_of(layers, [[[[.8, .1, .1], [.1, .8, .1]]] * 2] * 2)
    targets = [targets_of([HALF_OFF, UNIT], [0, 1]), targets_of(UNIT, [0])]
    losses = SetCriterion(matcher=dict(cls=1., giou=0.), weights=dict(center=1.))(predictions, targets)
    # Classes pair the queries with the boxes in order. In layer 0 only the box of scene 1 is missed, by a quarter of
    # the scene; in layer 1 only the two boxes of scene 0 are.
    assert losses['d0.loss_center'].item() == pytest.approx(.25 / 3)
    assert losses['loss_center'].item() == pytest.approx(.5 / 3)
    assert losses['d0.loss_giou'].item() == pytest.approx((1 - 1 / 3) / 3)
    assert losses['loss_giou'].item() == pytest.approx(2 * (1 - 1 / 3) / 3)
    # Three objects, and query 1 of scene 1 should be background.
    expected = (-3 * math.log(.8) - .25 * math.log(.1)) / 3.25
    assert losses['loss_cls'].item() == losses['d0.loss_cls'].item() == pytest.approx(expected)
    # Two objects are predicted in each scene.
    assert losses['cardinality_error'].item() == losses['d0.cardinality_error'].item() == .5
    assert set(losses) == {f'{prefix}{name}' for prefix in ('', 'd0.') for name in (
        'loss_cls', 'loss_center', 'loss_size', 'loss_giou', 'loss_angle_cls', 'loss_angle_residual',
        'cardinality_error')}


def test_each_of_three_scenes_has_its_own_boxes():
    """Two, one and one boxes; the center of the one in scene 2 is predicted a quarter of the scene off."""
    predictions = predictions_of([[[UNIT, HALF_OFF]] * 3], [[[[.8, .1, .1], [.1, .8, .1]]] * 3])
    targets = [targets_of([UNIT, HALF_OFF], [0, 1]), targets_of(HALF_OFF, [1]), targets_of(HALF_OFF, [0])]
    losses = SetCriterion(matcher=dict(cls=1., giou=0.), weights=dict(center=1.))(predictions, targets)
    assert losses['loss_center'].item() == pytest.approx(.25 / 4)


@pytest.mark.parametrize('turned', ['prediction', 'target'])
def test_rotated_boxes_have_rotated_overlaps(turned):
    """A unit square and one rotated by 45 degrees share an octagon; the enclosing box is the larger square."""
    rotated = [0., 0, 0, 1, 1, 1, math.pi / 4]
    predictions = predictions_of([[[rotated if turned == 'prediction' else UNIT]]], [[[[.5, .5]]]])
    losses = SetCriterion()(predictions, [targets_of(UNIT if turned == 'prediction' else rotated, [0])])
    octagon, enclosing = 2 * math.sqrt(2) - 2, 2.
    union = 2 - octagon
    assert losses['loss_giou'].item() == pytest.approx(1 - octagon / union + 1 - union / enclosing, abs=1e-5)


def test_losses_are_float32_and_scenes_without_boxes_have_only_the_class_loss():
    predictions = predictions_of([[[UNIT, HALF_OFF]]], [[[[.75, .25], [.25, .75]]]])
    predictions = {name: value.bfloat16() for name, value in predictions.items()}
    losses = SetCriterion()(predictions, [targets_of([], [])])
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert losses.pop('loss_cls').item() == pytest.approx(-math.log(.25 * .75) / 2, rel=.01)
    assert losses.pop('cardinality_error').item() == 1
    assert not any(value.item() for value in losses.values())


def test_weights_of_zero_and_unknown_ones():
    predictions = predictions_of([[[HALF_OFF, UNIT]]], [[[[.5, .5], [.5, .5]]]])
    losses = SetCriterion(weights=dict(giou=0., size=0.))(predictions, [targets_of(UNIT, [0])])
    assert 'loss_giou' not in losses and 'loss_size' not in losses and 'loss_center' in losses
    with pytest.raises(ValueError, match=r"unknown losses \['sizes'\]"):
        SetCriterion(weights=dict(sizes=1.))


def test_default_weights_are_those_of_the_release_for_scannet():
    criterion = SetCriterion()
    assert criterion.weights == dict(cls=1., center=5., size=1., giou=1., angle_cls=.1, angle_residual=.5)
    matcher = criterion.matcher
    assert (matcher.cls, matcher.giou, matcher.center, matcher.objectness) == (1, 2, 0, 0)
    assert criterion.background_weight == .25
