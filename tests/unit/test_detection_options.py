"""Options of the open-vocabulary detector: scales of crops, size priors, dropped background, kept proposals."""
import json
from functools import partial

import numpy as np
import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData
from scipy.stats import norm

from helpers.scenes import CLASSES, furnished_room, tiny_detector
from helpers.tool_modules import load_tool
from opendlign_mm.datasets.class_names import SCANNET_CLASSES, vocabulary_of
from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.detection import FileProposals, OpenVocabBBoxHead
from opendlign_mm.detection.classified_boxes import BoxCrops
from opendlign_mm.detection.size_priors import PACKAGED, SizePriors, fit_size_priors

SIZES = dict(chair=[.5, .5, .9], table=[1.4, .8, .75], cabinet=dict(mean=[.6, .4, 1.8], std=[.2, .2, .4]))


class Fixed(torch.nn.Module):
    """Source of the same boxes for each scene."""

    def __init__(self, boxes):
        super().__init__()
        self.boxes = DepthInstance3DBoxes(boxes, box_dim=boxes.shape[1], with_yaw=boxes.shape[1] == 7)

    def forward(self, points, data_sample=None):
        found = InstanceData()
        found.bboxes_3d, found.objectness = self.boxes, torch.linspace(.3, .9, len(self.boxes))
        return found


@pytest.fixture(scope='module')
def room():
    points, boxes = furnished_room()
    boxes[:, 2] -= boxes[:, 5] / 2  # mmdet3d's boxes stand on their z
    return points, torch.cat([boxes, torch.zeros(4, 1)], 1)


def predicted(detector, points, name='scene7'):
    sample = Det3DDataSample()
    sample.set_metainfo(dict(lidar_path=f'points/{name}.bin'))
    return detector.predict(dict(points=[points]), [sample])[0]


# --- crops ------------------------------------------------------------------------------------------------------------

def test_a_scale_grows_the_box_about_its_center():
    # A box from 0 to 1 on each axis; its points are on the diagonal through the center.
    diagonal = torch.tensor([-.2, -.04, .3, .5, .7, 1.04, 1.2])[:, None].expand(-1, 3)
    proposals = InstanceData()
    proposals.bboxes_3d = DepthInstance3DBoxes(torch.tensor([[.5, .5, 0, 1, 1, 1, 0]]))
    found, crops = BoxCrops(min_points=2, crop_scales=(1, 1.1, 1.5, .3))(diagonal, proposals)
    assert len(found) == 1
    for (crop, ), expected in zip(crops, ([.3, .5, .7], [-.04, .3, .5, .7, 1.04], diagonal[:, 0].tolist(),
                                          [.3, .5, .7]), strict=True):  # the last has one point, too few
        np.testing.assert_allclose(crop[:, 0].numpy() + .5, expected, atol=1e-6)
    assert len(BoxCrops(min_points=4)(diagonal, proposals)[0]) == 0
    assert len(BoxCrops(box_margin=.1, min_points=4)(diagonal, proposals)[0]) == 1


@pytest.mark.parametrize('scales', [(), (0., ), (1., -1.), 1.5])
def test_wrong_scales_are_named(scales):
    with pytest.raises(ValueError, match='crop_scales'):
        BoxCrops(crop_scales=scales)


def test_probabilities_of_several_scales_are_averaged(room):
    points, boxes = room
    source = Fixed(boxes)
    own, large = (predicted(tiny_detector(source, crop_scales=[scale]), points).proposals_3d.class_probabilities
                  for scale in (1., 1.4))
    both = tiny_detector(source, crop_scales=[1., 1.4])
    found = predicted(both, points).proposals_3d
    assert (own - large).abs().max() > 1e-4
    torch.testing.assert_close(found.class_probabilities, (own + large) / 2)
    encoded = both.encode_scene(points)
    assert encoded.view_features.shape[:2] == (4, 2 * encoded.depth_views.shape[1])
    torch.testing.assert_close(both.classify_encoded(encoded), found.class_probabilities, atol=1e-5, rtol=1e-4)


# --- sizes ------------------------------------------------------------------------------------------------------------

def test_size_priors_multiply_the_densities_of_the_sizes():
    probabilities = torch.tensor([[.2, .3, .4], [.2, .3, .4], [0., 0., 0.]])  # a tenth belongs to the background
    sizes = torch.tensor([[.8, 1.4, .75], [.6, .5, 1.], [1., 1., 1.]])
    weighed = SizePriors(SIZES, std=.5, weight=.5).weigh(probabilities, sizes, CLASSES)
    means = np.log([SIZES['chair'], SIZES['table'], SIZES['cabinet']['mean']])
    for row, (length, width, height) in enumerate([(1.4, .8, .75), (.6, .5, 1.)]):
        density = norm.pdf(np.log([length, width, height]), means, [[.5] * 3, [.5] * 3, [.2, .2, .4]]).prod(1)
        expected = probabilities[row].numpy() * density**.5
        np.testing.assert_allclose(weighed[row].numpy(), .9 * expected / expected.sum(), rtol=1e-4)
    assert weighed[0].argmax() == 1 and (weighed[2] == 0).all()
    torch.testing.assert_close(SizePriors(SIZES, weight=0.).weigh(probabilities, sizes, CLASSES), probabilities)
    far = SizePriors(SIZES).weigh(probabilities, sizes * 1e4, CLASSES)
    assert torch.isfinite(far).all() and far[0].sum() == pytest.approx(.9)


def test_a_box_of_a_size_that_no_class_has_gets_low_scores():
    probabilities, sizes = torch.tensor([[.2, .3, .4]] * 2), torch.tensor([[.6, .5, 1.], [4., 3., 3.]])
    shifted = SizePriors(SIZES).weigh(probabilities, sizes, CLASSES)
    found = SizePriors(SIZES, misfit=.3).weigh(probabilities, sizes, CLASSES)
    means = np.log([SIZES['chair'], SIZES['table'], SIZES['cabinet']['mean']])
    deviations = np.array([[.5] * 3, [.5] * 3, [.2, .2, .4]])
    for row, size in enumerate(sizes.numpy()):
        fit = norm.pdf(np.log(size), means, deviations).prod(1) / norm.pdf(means, means, deviations).prod(1)
        np.testing.assert_allclose(found[row].numpy(), shifted[row].numpy() * fit**.3, rtol=1e-4, atol=1e-7)
    assert found[1].sum() < .1 < .5 < found[0].sum()
    with pytest.raises(ValueError, match='misfit >= 0, got 0.5, 1.0 and -1'):
        SizePriors(SIZES, misfit=-1)


def test_classes_without_sizes_keep_their_probabilities():
    classes, probabilities = ('chair', 'piano', *CLASSES[1:]), torch.tensor([[.2, .1, .3, .3]])
    sizes = torch.tensor([[.6, .5, 1.]])
    weighed = SizePriors(SIZES, missing='keep').weigh(probabilities, sizes, classes)
    assert weighed[0, 1] == probabilities[0, 1]
    torch.testing.assert_close(weighed[:, [0, 2, 3]],
                               SizePriors(SIZES).weigh(probabilities[:, [0, 2, 3]], sizes, CLASSES))
    unknown = torch.tensor([[.7, .3]])
    assert torch.equal(SizePriors(SIZES, missing='keep').weigh(unknown, sizes, ('piano', 'organ')), unknown)
    with pytest.raises(ValueError, match="no sizes of piano; .*missing='keep'"):
        SizePriors(SIZES).weigh(probabilities, sizes, classes)
    with pytest.raises(ValueError, match="missing must be 'error' or 'keep', got 'drop'"):
        SizePriors(SIZES, missing='drop')


def test_the_packaged_sizes_are_those_of_scanned_built_in_objects():
    packaged = SizePriors('builtin')
    packaged.check([vocabulary_of([name])[0] for name in SCANNET_CLASSES])
    entries = json.loads(PACKAGED.read_text())
    for name in ('toilet', 'garbage bin'):
        extents = np.array([np.ptp(sample_shape(name, np.random.default_rng(seed), 400, True, 2).points, axis=0)
                            for seed in range(100)])
        logs = np.log(np.column_stack([extents[:, :2].max(1), extents[:, :2].min(1), extents[:, 2]]))
        np.testing.assert_allclose(entries[name]['mean'], np.exp(logs.mean(0)), atol=1e-4)
        np.testing.assert_allclose(entries[name]['std'], np.maximum(logs.std(0), .1), atol=1e-4)
    # A box of half a meter is a bin, one of two meters a bed, whatever the views leave open.
    boxes = torch.tensor([[.4, .4, .6], [2., 1.5, .9]])
    weighed = packaged.weigh(torch.full((2, 2), .5), boxes, ('garbage bin', 'bed'))
    assert weighed.argmax(1).tolist() == [0, 1]


def test_sizes_are_checked_before_anything_is_detected(tmp_path, room):
    path = tmp_path / 'sizes.json'
    path.write_text(json.dumps(dict(chair=[.5, .5, .9], table=[1, 1, 1])))
    with pytest.raises(ValueError, match='sizes.json has no sizes of cabinet'):
        tiny_detector(Fixed(room[1]), size_priors=str(path))
    with pytest.raises(FileNotFoundError, match='fit_size_priors'):
        SizePriors(tmp_path / 'none.json')
    for wrong in ([1, 2], [1, 2, -3], 'large', dict(mean=[1, 1, 1], std=[0, 1, 1]), dict(std=[1, 1, 1])):
        with pytest.raises(ValueError, match="'chair' must have three sizes"):
            SizePriors(dict(chair=wrong))
    with pytest.raises(ValueError, match='std must be > 0'):
        SizePriors(SIZES, std=0)
    detector = tiny_detector(Fixed(room[1]), size_priors=dict(sizes=SIZES, weight=2.))
    with pytest.raises(ValueError, match='no sizes of sofa'):
        detector.set_vocabulary(['chair', 'sofa'])


def test_a_detector_weighs_its_probabilities(room):
    points, boxes = room
    plain = predicted(tiny_detector(Fixed(boxes)), points).proposals_3d
    detector = tiny_detector(Fixed(boxes), size_priors=dict(sizes=SIZES))
    expected = SizePriors(SIZES).weigh(plain.class_probabilities, plain.bboxes_3d.dims, CLASSES)
    torch.testing.assert_close(predicted(detector, points).proposals_3d.class_probabilities, expected)
    encoded = detector.encode_scene(points)
    torch.testing.assert_close(detector.classify_encoded(encoded), expected, atol=1e-5, rtol=1e-4)


def test_sizes_are_fitted_to_annotated_boxes(tmp_path, monkeypatch, capsys):
    sizes = np.array([[1., 2, 3], [4, 2, 3], [1, 1, 1], [9, 9, 9]])
    fitted = fit_size_priors(sizes, np.array([0, 0, 2, -1]), ['a', 'b', 'c'])
    # lengths 2 and 4, widths 1 and 2: geometric means 2.828 and 1.414, half of ln 2 on either side
    assert fitted == dict(a=dict(mean=[2.8284, 1.4142, 3.], std=[.3466, .3466, .1], count=2),
                          c=dict(mean=[1., 1., 1.], std=[.1] * 3, count=1))
    info = dict(metainfo=dict(categories=dict(chair=0, bed=1)), data_list=[
        dict(instances=[dict(bbox_3d=[0, 0, 0, .5, .4, .9], bbox_label_3d=0)]),
        dict(instances=[dict(bbox_3d=[0, 0, 0, 1, 2, .5, .3], bbox_label_3d=1)]), dict(instances=[])])
    (tmp_path / 'infos.json').write_text(json.dumps(info))
    monkeypatch.setattr('sys.argv', ['fit_size_priors.py', str(tmp_path / 'infos.json'), '--out',
                                     str(tmp_path / 'sizes.json')])
    load_tool('fit_size_priors').main()
    assert 'chair' in capsys.readouterr().out
    assert json.loads((tmp_path / 'sizes.json').read_text())['bed']['mean'] == [2., 1., .5]
    SizePriors(tmp_path / 'sizes.json').check(['chair', 'bed'])


def test_the_tool_fits_the_sizes_of_built_in_objects(tmp_path, monkeypatch):
    tool = load_tool('fit_size_priors')
    monkeypatch.setattr(tool, 'built_in_sizes', partial(tool.built_in_sizes, objects=1))
    monkeypatch.setattr('sys.argv', ['fit_size_priors.py', '--built-in', '--out', str(tmp_path / 'sizes.json')])
    tool.main()
    entries = json.loads((tmp_path / 'sizes.json').read_text())
    assert set(entries) == set(json.loads(PACKAGED.read_text()))
    scan = sample_shape('toilet', np.random.default_rng(0), 400, True, 2).points
    assert entries['toilet']['mean'][2] == pytest.approx(np.ptp(scan[:, 2]), abs=1e-4)
    assert all(entry['count'] == 1 for entry in entries.values())


# --- background -------------------------------------------------------------------------------------------------------

def test_boxes_whose_best_word_is_the_background_are_dropped(room, monkeypatch):
    points, boxes = room
    detector = tiny_detector(Fixed(boxes), background='ov3det', drop_background=True)
    assert detector.background[0] == 'ground' and len(detector.background) == 6
    assert detector.class_names == CLASSES
    logits = torch.full((4, 9), -10.)
    logits[0, 1], logits[1, 5], logits[2, 2] = 0, 0, -.001  # the second is best as 'floor'
    logits[2, 3], logits[3, 0], logits[3, 8] = 0, 0, -.001  # so is the third, the last is not
    monkeypatch.setattr(detector.classifier, 'class_logits_of', lambda *features: logits)
    sample = predicted(detector, points)
    kept = sample.pred_instances_3d
    assert sorted(set(kept.proposal_indices.tolist())) == [0, 3]
    assert kept.labels_3d[kept.proposal_indices == 0][0] == 1
    assert (sample.proposals_3d.class_probabilities[1:3] == 0).all()
    with pytest.raises(ValueError, match='drop_background needs background'):
        tiny_detector(Fixed(boxes), drop_background=True)
    with pytest.raises(ValueError, match="single string 'coda'"):
        tiny_detector(Fixed(boxes), background='coda')


def test_the_head_drops_boxes_without_any_probability(room):
    found = Fixed(room[1])(room[0])
    probabilities = torch.tensor([[.5, .5], [0., 0.], [0., 1.], [0., 0.]])
    for options in (dict(), dict(labels_per_box=1), dict(labels_per_box=1, class_agnostic_nms=True)):
        kept = OpenVocabBBoxHead(**options).predict(found, probabilities).proposal_indices
        assert set(kept.tolist()) == {0, 2}


# --- proposals in files -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('columns', [7, 6])
def test_saved_proposals_are_read_back_equal(tmp_path, room, columns):
    points, boxes = room
    boxes = boxes[:, :columns].clone() + .0123
    detector = tiny_detector(Fixed(boxes), save_proposals=str(tmp_path / 'boxes'), max_proposals=2)
    before = predicted(detector, points)
    assert [path.name for path in (tmp_path / 'boxes').iterdir()] == ['scene7.npz']
    again = FileProposals(tmp_path / 'boxes')
    sample = Det3DDataSample()
    sample.set_metainfo(dict(lidar_path='elsewhere/scene7.bin'))
    read = again(points, sample)
    assert len(read) == 4 and read.bboxes_3d.with_yaw == (columns == 7)  # all, not the best two alone
    assert torch.equal(read.bboxes_3d.tensor, Fixed(boxes)(points).bboxes_3d.tensor.flip(0))
    assert torch.equal(read.objectness, torch.linspace(.3, .9, 4).flip(0))
    after = predicted(tiny_detector(again, max_proposals=2), points)
    assert torch.equal(after.pred_instances_3d.scores_3d, before.pred_instances_3d.scores_3d)
    assert torch.equal(after.pred_instances_3d.bboxes_3d.tensor, before.pred_instances_3d.bboxes_3d.tensor)


def test_a_scene_without_a_name_and_a_wrong_origin_are_refused(tmp_path, room):
    points, boxes = room
    detector = tiny_detector(Fixed(boxes), save_proposals=str(tmp_path / 'boxes'))
    with pytest.raises(ValueError, match='save_proposals: the data sample has no lidar_path'):
        detector.predict(dict(points=[points]))
    (tmp_path / 'scene.json').write_text('{"boxes": [[0, 0, 0, 1, 1, 1]], "origin": "corner"}')
    sample = Det3DDataSample()
    sample.set_metainfo(dict(lidar_path='scene.bin'))
    with pytest.raises(ValueError, match="origin must be one of gravity_center, bottom_center, got 'corner'"):
        FileProposals(tmp_path)(points, sample)
