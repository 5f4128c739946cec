"""Scenes far from the origin, in other units, and with stray points: the same boxes as near the origin, or an error."""
import json

import numpy as np
import pytest
import torch
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import DepthInstance3DBoxes, DepthPoints, Det3DDataSample
from mmengine.structures import InstanceData

from helpers.scenes import furnished_room, tiny_detector
from helpers.tiny_three_detr import tiny
from opendlign_mm.detection import ClusterProposals, DetectorProposals, FileProposals, ThreeDETRProposals
from opendlign_mm.point_ops.coordinates import localize_boxes, move_boxes, scene_offset, to_local

UTM = torch.tensor([448_262., 5_411_932., 117.], dtype=torch.float64)  # easting, northing and height of Karlsruhe


def far_room():
    """The points of the room near the origin, and the same in UTM coordinates."""
    points, boxes = furnished_room()
    moved = points.double()
    moved[:, :3] += UTM
    return points, moved, boxes


def near(boxes):
    """Gravity centers, sizes and yaw as float64, without the offset."""
    return torch.cat([boxes.gravity_center.double() - UTM, boxes.tensor[:, 3:].double()], dim=1)


def test_offsets_by_hand():
    points = torch.tensor([[9000., 1, -1, 7], [9001.4, 2, -1, 7], [9003, 3, -2, 7]])
    offset = scene_offset(points)
    assert offset.dtype == torch.float64 and offset.tolist() == [9001, 2, -1]
    local = to_local(points.double(), offset)
    assert local.dtype == torch.float32
    torch.testing.assert_close(local[1], torch.tensor([.4, 0, 0, 7]), atol=1e-3, rtol=0)
    assert scene_offset(points - 1000).tolist() == [0, 0, 0], 'within 8192 m float32 resolves a millimeter'
    assert to_local(points, torch.zeros(3)) is points
    boxes = DepthInstance3DBoxes(torch.tensor([[1., 2, 3, 4, 5, 6, .5]]))
    moved = move_boxes(boxes, UTM)
    assert moved.tensor.dtype == torch.float64 and moved.tensor[0].tolist() == [448_263, 5_411_934, 120, 4, 5, 6, .5]
    assert boxes.tensor[0, 0] == 1 and torch.equal(localize_boxes(moved, UTM).tensor, boxes.tensor)


def test_clusters_far_away():
    points, moved, _ = far_room()
    expected, found = ClusterProposals()(points), ClusterProposals()(moved)
    assert len(found) == len(expected) > 4
    boxes = expected.bboxes_3d
    torch.testing.assert_close(near(found.bboxes_3d)[:8, :3], boxes.gravity_center[:8].double(), atol=.01, rtol=0)
    torch.testing.assert_close(found.bboxes_3d.dims[:8], boxes.dims[:8].double(), atol=.01, rtol=0)


def test_three_detr_far_away():
    points, moved, truth = far_room()
    model = tiny(selection=dict(objectness_threshold=0., nms_threshold=1.)).eval()
    expected, found = (model.predict(dict(points=[scene]))[0] for scene in (points, moved))
    assert len(found.proposals_3d) == len(expected.proposals_3d) > 0
    assert found.pred_instances_3d.bboxes_3d.tensor.dtype == torch.float64
    for name in ('proposals_3d', 'pred_instances_3d'):
        boxes = getattr(expected, name).bboxes_3d
        torch.testing.assert_close(near(getattr(found, name).bboxes_3d)[:, :3], boxes.gravity_center.double(),
                                   atol=.01, rtol=0)
    boxes = model.predict_boxes([moved, points])
    torch.testing.assert_close(boxes['center'][0] - UTM, boxes['center'][1].double(), atol=.01, rtol=0)
    proposals, = model.propose([moved])
    torch.testing.assert_close(near(proposals.bboxes_3d), near(found.proposals_3d.bboxes_3d))

    def losses(scene, offset):
        boxes = DepthInstance3DBoxes(truth, box_dim=6, with_yaw=False, origin=(.5, .5, .5))
        annotated = InstanceData(bboxes_3d=move_boxes(boxes, offset), labels_3d=torch.zeros(4, dtype=torch.long))
        return model.loss(dict(points=[scene]), [Det3DDataSample(gt_instances_3d=annotated)])

    far, close = losses(moved, UTM), losses(points, torch.zeros(3))
    assert far['loss_center'].item() == pytest.approx(close['loss_center'].item(), rel=1e-2)


def test_the_open_vocabulary_detector_far_away():
    points, moved, _ = far_room()
    detector = tiny_detector(dict(type='ClusterProposals', max_proposals=6))
    expected, found = (detector.predict(dict(points=[scene]))[0] for scene in (points, moved))
    assert found.proposals_3d.bboxes_3d.tensor.dtype == torch.float64
    torch.testing.assert_close(near(found.proposals_3d.bboxes_3d)[:, :3],
                               expected.proposals_3d.bboxes_3d.gravity_center.double(), atol=.01, rtol=0)
    torch.testing.assert_close(found.proposals_3d.class_probabilities, expected.proposals_3d.class_probabilities,
                               atol=.02, rtol=0)
    boxes = near(found.pred_instances_3d.bboxes_3d)[:, None, :3]
    assert (boxes - near(found.proposals_3d.bboxes_3d)[:, :3]).norm(dim=2).amin(dim=1).max() < 1e-6
    with torch.no_grad():
        (proposals, probabilities), = detector(dict(points=[moved]), mode='tensor')
    torch.testing.assert_close(near(proposals.bboxes_3d), near(found.proposals_3d.bboxes_3d))
    torch.testing.assert_close(probabilities, found.proposals_3d.class_probabilities)
    torch.testing.assert_close(near(detector.propose(moved).bboxes_3d), near(found.proposals_3d.bboxes_3d))


def test_boxes_of_files_far_away(tmp_path):
    _, moved, truth = far_room()
    boxes = truth.double()
    boxes[:, :3] += UTM + .125
    (tmp_path / 'scene.json').write_text(json.dumps(dict(boxes=boxes.tolist())))
    sample = Det3DDataSample()
    sample.set_metainfo(dict(lidar_path='scene.bin'))
    found = FileProposals(tmp_path)(moved, sample).bboxes_3d
    torch.testing.assert_close(near(found)[:, :3], truth[:, :3].double() + .125, atol=1e-5, rtol=0)
    sample, = tiny_detector(dict(type='FileProposals', folder=tmp_path)).predict(dict(points=[moved]), [sample])
    assert len(sample.proposals_3d) == 4


@pytest.mark.parametrize('source', ['clusters', 'detector', '3detr'])
@pytest.mark.parametrize('kind, message', [
    ('utm', r'coordinates reach 5\.41e\+06 m, where float32 numbers are 0\.65 m apart'), ('huge', 'reach .*e\\+30 m'),
    ('huge in float64', 'reach .*e\\+30 m, where float64'), ('wide', 'where float32 numbers')])
def test_coordinates_that_cannot_be_resolved_are_refused(source, kind, message):
    points, moved, _ = far_room()
    scenes = {'utm': moved.float(), 'huge': points * 1e30, 'huge in float64': points.double() * 1e30,
              'wide': torch.cat([moved, torch.zeros(1, 6).double()])}
    if source == 'clusters':
        run = ClusterProposals()
    elif source == '3detr':
        run = ThreeDETRProposals(dict(model=dict(tiny_config())))
    else:
        steps = [dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2]),
                 dict(type='Pack3DDetInputs', keys=['points'])]
        run = DetectorProposals(dict(model=tiny_config(), test_dataloader=dict(dataset=dict(pipeline=steps))))
    with pytest.raises(ValueError, match=message):
        run(scenes[kind])


def tiny_config():
    return dict(type='ThreeDETR', num_classes=1, num_queries=8, set_abstraction=dict(
        num_points=32, num_samples=4, channels=(8, 8, 16)), decoder=dict(num_layers=1, feedforward_channels=8))


def test_a_far_detector_of_mmdet3d():
    """Its pipeline gets local coordinates; its boxes come back with the offset."""
    steps = [dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2]),
             dict(type='Pack3DDetInputs', keys=['points'])]
    torch.manual_seed(0)
    source = DetectorProposals(dict(model=tiny_config(), test_dataloader=dict(dataset=dict(pipeline=steps))))
    points, moved, _ = far_room()
    expected, found = source(points).bboxes_3d, source(moved).bboxes_3d
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(near(found)[:, :3], expected.gravity_center.double(), atol=.01, rtol=0)


def test_equal_points_count_once():
    """Half of a scan at the origin, as invalid returns of a sensor are: boxes as with one such point."""
    points, _ = furnished_room()
    points[:, :3] += 3
    stray = torch.zeros(1, 6)
    few, many = (ClusterProposals()(torch.cat([points, stray.repeat(count, 1)])) for count in (1, len(points)))
    assert torch.equal(many.bboxes_3d.tensor, few.bboxes_3d.tensor) and torch.equal(many.objectness, few.objectness)
    # Of equal points the first gives the color, and the others keep their order.
    doubled = torch.cat([points, points.flip(0) * torch.tensor([1., 1, 1, 0, 0, 0])])
    assert torch.equal(ClusterProposals()(doubled).bboxes_3d.tensor, ClusterProposals()(points).bboxes_3d.tensor)


@pytest.mark.parametrize('source', ['clusters', 'detector'])
@pytest.mark.parametrize('change, message', [
    (lambda colors: colors.index_fill(0, torch.tensor([2, 5]), torch.nan), '2 of 11800 points have non-finite colors'),
    (lambda colors: colors / 100 - 1, r'must be r, g, b in \[0, 255\] or \[0, 1\], got values from -0.7 to 1'),
    (lambda colors: colors * 10, 'got values from 300 to 2000')])
def test_columns_that_are_no_colors_are_refused(source, change, message):
    points, _ = furnished_room()
    points = torch.cat([points[:, :3], change(points[:, 3:])], dim=1)
    steps = [dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2, 3, 4, 5],
                  use_color=True), dict(type='Pack3DDetInputs', keys=['points'])]
    run = ClusterProposals() if source == 'clusters' else DetectorProposals(
        dict(model=tiny_config(), test_dataloader=dict(dataset=dict(pipeline=steps))))
    with pytest.raises(ValueError, match=message):
        run(points)


def test_colors_in_the_unit_range_are_scaled_for_detectors():
    steps = [dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2, 3, 4, 5],
                  use_color=True), dict(type='Pack3DDetInputs', keys=['points'])]
    source = DetectorProposals(dict(model=tiny_config(), test_dataloader=dict(dataset=dict(pipeline=steps))))
    points, _ = furnished_room()
    unit = torch.cat([points[:, :3], points[:, 3:] / 255], dim=1)
    seen = []
    predict = source.detector.predict
    source.detector.predict = lambda inputs, samples: seen.append(inputs['points'][0]) or predict(inputs, samples)
    source(points), source(unit)
    torch.testing.assert_close(seen[1], seen[0])
    assert np.isclose(seen[0][:, 3:].max(), 200)


def test_a_scene_at_loading():
    """CheckScenePoints names the file, so that the dataset's policy for unreadable scenes applies."""
    check = TRANSFORMS.build(dict(type='CheckScenePoints'))
    with pytest.raises(ValueError, match=r'room\.bin: coordinates reach 5\.41e\+06 m'):
        check(dict(points=DepthPoints(far_room()[1][:, :3].float()), lidar_path='room.bin'))


