"""3DETR as a detector: shapes, losses, odd scenes, angles, selection, training."""
import math

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData

from helpers.scenes import furnished_room
from helpers.tiny_three_detr import tiny
from opendlign_mm.detection.three_detr.box_coder import SceneBounds, decode_angle, encode_angle
from opendlign_mm.detection.three_detr.criterion import HungarianMatcher, SceneTargets
from opendlign_mm.detection.three_detr.selection import BoxSelection
from opendlign_mm.point_ops import furthest_point_sample


def annotated(boxes, labels, with_yaw=False):
    sample = Det3DDataSample()
    sample.gt_instances_3d = InstanceData()
    sample.gt_instances_3d.bboxes_3d = DepthInstance3DBoxes(
        boxes, box_dim=7 if with_yaw else 6, with_yaw=with_yaw, origin=(.5, .5, .5))
    sample.gt_instances_3d.labels_3d = torch.as_tensor(labels, dtype=torch.long)
    return sample


@pytest.fixture(scope='module')
def room():
    points, boxes = furnished_room()
    return points, annotated(boxes, [0, 1, 2, 0])


@pytest.mark.parametrize('masked', [True, False])
def test_predict_boxes_shapes_and_ranges(room, masked, device):
    plain = dict() if masked else dict(encoder=dict(feedforward_channels=16), memory_layers=3)
    model = tiny(num_angle_bins=12, **plain).to(device).eval()
    points = room[0].to(device)
    boxes = model.predict_boxes(torch.stack([points, points]))
    shapes = dict(cls_logits=(2, 16, 4), center=(2, 16, 3), size=(2, 16, 3), angle=(2, 16), objectness=(2, 16))
    assert {name: tuple(value.shape) for name, value in boxes.items()} == shapes
    assert all(value.device.type == device.type for value in boxes.values())
    extent = points[:, :3].amax(0) - points[:, :3].amin(0)
    assert (boxes['size'] > 0).all() and (boxes['size'] <= extent).all()
    assert (boxes['angle'].abs() <= math.pi + 1e-6).all()
    assert ((boxes['objectness'] >= 0) & (boxes['objectness'] <= 1)).all()
    # Scenes of a batch do not influence each other, whether their sizes agree or not.
    shorter = points[:5000]
    mixed = model.predict_boxes([points, shorter])
    torch.testing.assert_close(mixed['center'][0], boxes['center'][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mixed['size'][1], model.predict_boxes(shorter[None])['size'][0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('encoded', [False, True])
def test_queries_start_from_zeros_or_from_encoded_features(room, encoded):
    """Zeros as published, or the encoded features of the points of the queries."""
    model = tiny(encoded_queries=encoded, num_queries=4).eval()
    for layer in model.decoder.layers:  # queries keep their initial values
        for block in (layer.self_attention.out_proj, layer.cross_attention.out_proj, layer.linear2):
            torch.nn.init.zeros_(block.weight), torch.nn.init.zeros_(block.bias)
    xyz, features = model.extract_feat([room[0]])
    memory = model.memory_projection(features.transpose(1, 2)).transpose(1, 2)
    chosen = furthest_point_sample(xyz, 4, True)[0]
    initial = memory[:, chosen] if encoded else torch.zeros(1, 4, 32)
    expected = model.branches(model.decoder.norm(initial)[None])['cls'][0]
    torch.testing.assert_close(model.predict_boxes(room[0][None])['cls_logits'], expected)


def test_the_decoder_gets_memory_and_positions_within_the_bounds_of_the_scene(room):
    """Positions of points and queries are Fourier features in [0, 1] of the scene; those of queries pass a network."""
    model = tiny(num_queries=4).eval()
    points = room[0]
    calls = []
    model.decoder.register_forward_pre_hook(lambda module, args: calls.append(args))
    model.predict_boxes(points[None])
    memory, query_positions, memory_positions, queries = calls[0]
    xyz, features = model.extract_feat([points])
    torch.testing.assert_close(memory, model.memory_projection(features.transpose(1, 2)).transpose(1, 2))
    low, high = points[:, :3].amin(0), points[:, :3].amax(0)
    normalized = (xyz - low) / (high - low)
    waves = 2 * math.pi * normalized @ model.position_features.frequencies
    expected = torch.cat([waves.sin(), waves.cos()], dim=2)
    torch.testing.assert_close(memory_positions, expected, atol=1e-4, rtol=1e-4)
    chosen = furthest_point_sample(xyz, 4, True)[0]
    expected = model.query_projection(expected[:, chosen].transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(query_positions, expected, atol=1e-4, rtol=1e-4)
    assert queries is None


def test_defaults_are_those_of_3detr():
    model = MODELS.build(dict(type='ThreeDETR', num_classes=18))
    abstraction = model.set_abstraction
    assert (abstraction.num_points, abstraction.radius, abstraction.num_samples) == (2048, .2, 64)
    assert [layer.out_channels for layer in abstraction.mlp[::3]] == [64, 128, 256]
    assert abstraction.skip_near_origin and model.num_queries == 256 and not model.encoded_queries
    assert [type(layer).__name__ for layer in model.memory_projection] == ['Conv1d', 'BatchNorm1d', 'ReLU'] * 3
    assert [type(layer).__name__ for layer in model.query_projection] == ['Conv1d', 'ReLU'] * 2
    assert model.branches['cls'][8].out_channels == 19 and model.branches['angle_cls'][8].out_channels == 1
    assert model.branches['center'][3].p == .3 and not model.class_agnostic


def test_options_reach_the_parts():
    model = tiny(decoder=dict(num_layers=3, feedforward_channels=8), criterion=dict(background_weight=.7),
                 selection=dict(max_boxes=3), data_preprocessor=dict(type='Det3DDataPreprocessor', pad_size_divisor=4))
    assert len(model.decoder.layers) == 3 and model.criterion.background_weight == .7 and model.selection.max_boxes == 3
    assert model.data_preprocessor.pad_size_divisor == 4
    assert type(tiny().data_preprocessor).__name__ == 'Det3DDataPreprocessor'


def test_predictions_are_those_of_the_last_layer(room):
    model = tiny(decoder=dict(num_layers=3, feedforward_channels=16)).eval()
    layers, _ = model.predict_layers([room[0]])
    boxes = model.predict_boxes(room[0][None])
    assert len(layers['center']) == 3 and not torch.equal(layers['center'][1], layers['center'][2])
    for name, value in boxes.items():
        assert torch.equal(value, layers[name][-1])


@pytest.mark.parametrize('bins, with_yaw', [(1, False), (2, True)])
def test_boxes_have_a_yaw_if_there_is_more_than_one_angle_bin(room, bins, with_yaw):
    proposals, = tiny(num_angle_bins=bins, selection=dict(objectness_threshold=0.)).eval().propose([room[0]])
    assert len(proposals) and proposals.bboxes_3d.with_yaw is with_yaw


def test_only_coordinates_are_used(room):
    model = tiny().eval()
    points = room[0]
    changed = torch.cat([points[:, :3], torch.full((len(points), 2), torch.nan)], dim=1)
    assert torch.equal(model.predict_boxes(changed[None])['center'], model.predict_boxes(points[None])['center'])
    features, others = (model.extract_feat([scene])[1] for scene in (points, changed))
    assert torch.equal(features, others)
    layers, others = (model.predict_layers([scene])[0] for scene in (points, changed))
    assert torch.equal(layers['size'], others['size'])


def test_names_of_labels_are_told_where_they_are_known(room):
    model = tiny().eval()
    assert 'class_names' not in model.predict(dict(points=[room[0]]))[0]
    model.class_names = ('bed', 'desk', 'sofa')
    assert model.predict(dict(points=[room[0]]))[0].class_names == ('bed', 'desk', 'sofa')
    agnostic = tiny(num_classes=1, class_agnostic=True).eval()
    assert agnostic.predict(dict(points=[room[0]]))[0].class_names == ('object', )


@pytest.mark.parametrize('wrong', ['num_classes', 'num_angle_bins', 'num_queries', 'memory_layers'])
def test_numbers_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match=f'{wrong}.* must be >= 1'):
        tiny(**{wrong: 0})
    tiny(**{wrong: 1})


def test_masks_keep_attention_near():
    """Masks hide far points from a point; without masks it attends to them."""
    near = torch.rand(300, 3)
    far = torch.rand(300, 3) + torch.tensor([30., 0, 0])
    changed = far.clone()
    changed[:, 2] *= 3
    for masked in (True, False):
        model = tiny(**({} if masked else dict(encoder=dict(feedforward_channels=16)))).eval()
        model.set_abstraction.num_points = 600  # all points, so that sampling does not depend on the far ones
        if masked:
            model.encoder.downsampling.num_points = 600
        results = []
        for other in (far, changed):
            xyz, features = model.extract_feat([torch.cat([near, other])])
            own = xyz[0, :, 0] < 5
            order = xyz[0, own].sum(dim=1).argsort()
            results.append(features[0, own][order])
        same = torch.allclose(results[0], results[1], atol=1e-5)
        assert same is masked


@pytest.mark.parametrize('bins', [1, 12])
def test_losses_train(room, bins):
    """A few steps of overfitting one room lower the loss by 40 %, and all parameters get gradients."""
    model = tiny(num_angle_bins=bins, branch_dropout=0.,
                 decoder=dict(num_layers=2, feedforward_channels=16, dropout=0.))
    points, sample = room
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(60):
        total, log = model.parse_losses(model.loss(dict(points=[points, points]), [sample, sample]))
        optimizer.zero_grad()
        total.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        totals.append(total.item())
    assert {'loss_cls', 'd0.loss_giou', 'cardinality_error'} < set(log)
    assert totals[-1] < .6 * totals[0]


def test_scenes_without_boxes_and_boxes_of_other_classes(room):
    model = tiny()
    points, sample = room
    empty = annotated(torch.zeros(0, 6), [])
    losses = model.loss(dict(points=[points, points]), [empty, empty])
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total) and losses['loss_giou'].item() == 0 and losses['loss_cls'].item() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())

    model.eval()
    boxes = sample.gt_instances_3d.bboxes_3d
    some = annotated(torch.cat([boxes.gravity_center, boxes.dims], 1), [0, -1, 2, -1])
    two = annotated(torch.cat([boxes.gravity_center, boxes.dims], 1)[[0, 2]], [0, 2])
    for name, value in model.loss(dict(points=[points]), [some]).items():
        torch.testing.assert_close(value, model.loss(dict(points=[points]), [two])[name])
    with pytest.raises(ValueError, match='label 7.*3 classes'):
        model.loss(dict(points=[points]), [annotated(torch.ones(1, 6), [7])])


def test_class_agnostic(room):
    points, sample = room
    model = tiny(num_classes=1, class_agnostic=True).eval()
    losses = model.loss(dict(points=[points]), [sample])
    assert torch.isfinite(model.parse_losses(losses)[0])
    assert not model.predict(dict(points=[points]))[0].pred_instances_3d.labels_3d.any()
    with pytest.raises(ValueError, match='num_classes=1'):
        tiny(class_agnostic=True)


def test_odd_scenes():
    model = tiny().eval()
    for points in (torch.tensor([[1., 2, 3]]), torch.ones(50, 3), torch.rand(10, 3) * torch.tensor([1., 1, 0])):
        boxes = model.predict_boxes(points[None])
        assert all(torch.isfinite(value).all() for value in boxes.values())
        assert isinstance(model.predict(dict(points=[points]))[0].pred_instances_3d.bboxes_3d, DepthInstance3DBoxes)
    nan = torch.ones(5, 3)
    nan[2, 1] = torch.nan
    sample = Det3DDataSample()
    sample.set_metainfo(dict(lidar_path='scene.bin'))
    for points, message in ((torch.zeros(0, 3), 'scene.bin: there are no points'), (nan, 'scene.bin: 1 of 5 points'),
                            (torch.ones(5, 2), 'scene.bin: points must have shape')):
        with pytest.raises(ValueError, match=message):
            model.predict(dict(points=[points]), [sample])


def test_angles_survive_bins():
    angle = torch.linspace(-math.pi + 1e-3, math.pi, 200)
    for bins in (4, 12):
        chosen, residual = encode_angle(angle, bins)
        assert chosen.min() == 0 and chosen.max() == bins - 1 and residual.abs().max() <= 1 + 1e-5
        logits = torch.nn.functional.one_hot(chosen, bins).float()
        torch.testing.assert_close(decode_angle(logits, residual[:, None].expand(-1, bins)), angle)
    chosen, residual = encode_angle(angle, 1)
    assert not chosen.any() and not residual.any() and not decode_angle(residual[:, None], residual[:, None]).any()


def test_matching_finds_the_right_queries():
    """Queries at the boxes are matched to them in any order, rotated boxes by their yaw."""
    targets = torch.tensor([[0., 0, 0, 2, 1, 1, .3], [0, 0, 0, 2, 1, 1, -.9], [5, 0, 0, 1, 1, 1, 0]])
    order = torch.tensor([2, 0, 1])
    boxes = torch.cat([targets[order] + .01, torch.tensor([[9., 9, 9, 1, 1, 1, 0]])])
    predictions = dict(cls_logits=torch.zeros(1, 1, 4, 3), objectness=torch.ones(1, 1, 4), boxes=boxes[None, None],
                       normalized_center=boxes[None, None, :, :3])
    bounds = SceneBounds(torch.zeros(1, 3), torch.ones(1, 3))
    sample = annotated(targets, [0, 1, 1], with_yaw=True)
    scene = SceneTargets.of(sample.gt_instances_3d.bboxes_3d, sample.gt_instances_3d.labels_3d, bounds, 0, 2, 12, False)
    layer, number, query, box = HungarianMatcher()(predictions, [scene], rotated=True)
    assert query.tolist() == [0, 1, 2] and box.tolist() == order.tolist() and not layer.any() and not number.any()
    torch.testing.assert_close(scene.boxes, targets)


def test_selection():
    """Empty and improbable boxes and duplicates of one class are dropped, duplicates of other classes stay."""
    points = torch.rand(400, 3)
    center = torch.tensor([[.5, .5, .5], [.52, .5, .5], [.5, .52, .5], [5, 5, 5], [.2, .2, .2]])
    logits = torch.full((5, 3), -9.)
    logits[[0, 1, 2, 3, 4], [0, 0, 1, 0, 0]] = 9.
    logits[4] = torch.tensor([0., 0., 9.])  # background
    objectness = 1 - logits.softmax(dim=1)[:, -1]
    objectness[:3] = torch.tensor([.8, .9, .7])
    predicted = dict(cls_logits=logits, center=center, size=torch.full((5, 3), .5), angle=torch.zeros(5),
                     objectness=objectness)
    selected = BoxSelection()(points, predicted, with_yaw=False)
    assert selected.objectness.tolist() == pytest.approx([.9, .7])
    torch.testing.assert_close(selected.bboxes_3d.gravity_center, center[[1, 2]])
    assert len(BoxSelection(class_agnostic_nms=True)(points, predicted, False)) == 1
    assert len(BoxSelection(max_boxes=1)(points, predicted, False)) == 1
    detections = BoxSelection().to_detections(selected)
    assert detections.labels_3d.tolist()[:2] == [0, 1] and len(detections) == 4
    assert detections.scores_3d.tolist()[:2] == pytest.approx([.9, .7], abs=1e-4)
    none = BoxSelection()(points + 100, predicted, with_yaw=True)
    assert len(none) == 0 and len(BoxSelection().to_detections(none)) == 0 and none.bboxes_3d.tensor.shape == (0, 7)


def test_predict_gives_every_class_of_every_proposal(room):
    model = tiny(selection=dict(objectness_threshold=0., nms_threshold=1.)).eval()
    result = model.predict(dict(points=[room[0]]))[0]
    count = len(result.proposals_3d)
    assert count > 0 and len(result.pred_instances_3d) == 3 * count
    assert (result.proposals_3d.class_probabilities.sum(dim=1) <= 1).all()
    assert (result.pred_instances_3d.scores_3d.diff() <= 0).all()


def test_checkpoint_of_another_model_is_refused():
    model = tiny()
    with pytest.raises(RuntimeError, match='of another model.*pre_encoder.x.*convert_checkpoint'):
        model.load_state_dict({'pre_encoder.x': torch.zeros(1)}, strict=False)
    model.load_state_dict(tiny(1).state_dict())
    some = dict(list(tiny(2).state_dict().items())[:1], other=torch.zeros(1))
    model.load_state_dict(some, strict=False)  # a part of the model is left to the caller
    with pytest.raises(RuntimeError, match=r"Missing key\(s\)"):
        model.load_state_dict(some)


def test_half_precision(room, device):
    """Under autocast losses stay close to those of float32, and gradients finite."""
    model = tiny(num_angle_bins=12).to(device).eval()
    points, sample = room[0].to(device), room[1].to(device)
    exact, _ = model.parse_losses(model.loss(dict(points=[points]), [sample]))
    with torch.autocast(device.type, torch.bfloat16):
        losses = model.loss(dict(points=[points]), [sample])
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.dtype == torch.float32 and total.item() == pytest.approx(exact.item(), rel=.1)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
