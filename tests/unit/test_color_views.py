"""Color views: the projection of points with colors, and models, detectors and inferencers that take them."""
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS, TRANSFORMS
from mmdet3d.structures import Det3DDataSample

from helpers.scenes import CLASSES, tiny_detector
from helpers.tiny_inferencers import WORDS, room, scene_inferencer, shape_inferencer, shapes
from helpers.tiny_runs import tiny_model_config
from opendlign_mm.apis.detect_scene import detect_scene
from opendlign_mm.datasets.collate import collate_shapes
from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.models import PointCLIP
from opendlign_mm.projection import ColorProjection, ContourAwareProjection
from opendlign_mm.projection.color import color_bytes

SMALL = dict(resolution=56, depth_bins=24, view_angles=(30, 60, 150), densify_kernel=5)
RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def colored_shape(category='bed', n=1500):
    shape = sample_shape(category, np.random.default_rng(1), n)
    return torch.from_numpy(shape.points), torch.from_numpy(shape.colors)


def squares(*layers):
    """Points of squares seen from -y: (y, size of the side, color) of each, densely covered, in gaps of one another."""
    grid = torch.linspace(-.5, .5, 60)
    x, z = (axis.reshape(-1) for axis in torch.meshgrid(grid, grid, indexing='ij'))
    points = torch.cat([torch.stack([size * x + y / 100, torch.full_like(x, y), size * z + y / 100], dim=1)
                        for y, size, _ in layers])
    return points, torch.cat([torch.tensor(color, dtype=torch.uint8).expand(len(x), 3) for *_, color in layers])


# --- projection -------------------------------------------------------------------------------------------------------

def test_the_nearest_surface_is_seen_on_a_white_background_left_is_left():
    points, colors = squares((0, 1, RED), (.5, 1, GREEN), (-.2, .3, BLUE))
    colors[points[:, 0] < -.2] = torch.tensor((9, 9, 9), dtype=torch.uint8)  # the left of both large squares
    view = ColorProjection(dict(resolution=101, view_angles=[0], elevation=0, object_ratio=.8))([points], [colors])
    assert view.shape == (1, 1, 3, 101, 101) and view.dtype == torch.uint8
    pixel = view[0, 0].permute(1, 2, 0)
    assert pixel[50, 50].tolist() == list(BLUE), 'the small square stands in front'
    assert pixel[20, 50].tolist() == list(RED) and pixel[50, 80].tolist() == list(RED), 'never the green one behind'
    assert pixel[50, 20].tolist() == [9, 9, 9]
    assert pixel[2, 2].tolist() == [255, 255, 255]
    assert not (pixel == torch.tensor(GREEN)).all(-1).any()


def test_the_object_covers_the_pixels_of_its_depth_views_by_any_cameras():
    points, colors = colored_shape()
    cameras = dict(SMALL, view_angles=(0, 90, 200, 250), elevation=(-30, 0, 20, 80))
    depth = ContourAwareProjection(**cameras)([points])[0]
    seen = (ColorProjection(cameras)([points], [colors.clamp(max=250)])[0] < 255).any(1)
    assert (seen != (depth < .999)).float().mean() < .02 and seen.float().mean() > .1


def test_backends_agree_and_order_duplicates_and_place_of_points_do_not_matter():
    points, colors = colored_shape()
    views = ColorProjection(SMALL)([points], [colors])
    assert torch.equal(views, ColorProjection(dict(SMALL, backend='dense'))([points], [colors]))
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    twice = torch.cat([points[order], points])
    assert torch.equal(views, ColorProjection(SMALL)([twice], [torch.cat([colors[order], colors])]))
    assert torch.equal(views, ColorProjection(SMALL)(points[None], colors[None].float() / 255))
    moved = ColorProjection(SMALL)([points.double() * 2 + 64], [colors.float()])  # whole numbers, as mmdet3d loads them
    assert (moved != views).float().mean() < .01


def test_elevation_of_each_view_is_that_of_the_view_alone():
    points, _ = colored_shape()
    both = ContourAwareProjection(**dict(SMALL, view_angles=(30, 60), elevation=(10, 50)))([points])[0]
    for index, (angle, elevation) in enumerate(((30, 10), (60, 50))):
        alone = ContourAwareProjection(**dict(SMALL, view_angles=(angle, ), elevation=elevation))([points])[0, 0]
        assert torch.equal(both[index], alone)
    with pytest.raises(ValueError, match=r'elevation must be one number or one for each of the 2 view_angles, got 3'):
        ContourAwareProjection(view_angles=(0, 1), elevation=(1, 2, 3))
    with pytest.raises(ValueError, match=r'elevation must lie in \(-90, 90\), got 90'):
        ContourAwareProjection(view_angles=(0, 1), elevation=(1, 90))


def test_empty_clouds_and_empty_batches():
    nothing, colors = torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8)
    assert (ColorProjection(SMALL)([nothing], [colors]) == 255).all()
    assert ColorProjection(SMALL)([], []).shape == (0, 3, 3, 56, 56)


@pytest.mark.parametrize('colors, expected', [
    (torch.tensor([[0, 7, 255]], dtype=torch.uint8), [0, 7, 255]),
    (np.array([[0, .5, 1]]), [0, 128, 255]),
    (torch.tensor([[0., 7, 255]]), [0, 7, 255]),
])
def test_colors_of_any_range_become_bytes(colors, expected):
    assert color_bytes(colors, 1).tolist() == [expected]


@pytest.mark.parametrize('colors', [[[-.1, 0, 0]], [[0, 0, 300.]], [[.5, 0, 7.5]], [[float('nan'), 0, 0]]])
def test_colors_of_an_unknown_range_are_refused(colors):
    with pytest.raises(ValueError, match='colors must be uint8, floats in'):
        color_bytes(torch.tensor(colors), 1)
    with pytest.raises(ValueError, match='uint8 or floats'):
        color_bytes(torch.tensor([[1, 2, 3]]), 1)
    with pytest.raises(ValueError, match=r'shape \(2, 3\)'):
        color_bytes(torch.tensor(colors), 2)


def test_projections_without_such_cameras_are_refused():
    with pytest.raises(ValueError, match='cameras of a ContourAwareProjection, not of a RealisticProjection'):
        ColorProjection(dict(type='RealisticProjection'))


# --- pipeline ---------------------------------------------------------------------------------------------------------

def run(results, *steps):
    for step in steps:
        results = TRANSFORMS.build(step).transform(results)
    return results


def packed(points, colors, *steps):
    results = dict(points=points, sample_id='a', **({} if colors is None else dict(colors=colors)))
    return run(results, dict(type='ProjectPointsToDepth', projection=SMALL),
               dict(type='ProjectPointsToColor', projection=SMALL), *steps, dict(type='PackShapeInputs'))


def test_color_views_are_packed_beside_depth_views_of_the_same_sides():
    points, colors = colored_shape()
    inputs = packed(points, colors.numpy(), dict(type='SelectViews', indices=[2]))['inputs']
    assert torch.equal(inputs['color_views'], ColorProjection(SMALL)([points], [colors])[0, [2]])
    assert inputs['has_color'].item() is True
    batch = collate_shapes([packed(points, colors.numpy()), packed(points, None)])
    inputs = MODELS.build(dict(type='ViewDataPreprocessor'))(batch)['inputs']
    assert inputs['has_color'].tolist() == [True, False] and inputs['color_views'].max() == 1
    assert (inputs['color_views'][1] == 1).all(), 'white where there are no colors'


def test_colors_are_dropped_at_random_or_refused_where_they_are_wrong():
    points, colors = colored_shape()
    np.random.seed(0)
    kept = [packed(points, colors.numpy(), dict(type='DropColorViews', probability=.5))['inputs']['has_color'].item()
            for _ in range(12)]
    np.random.seed(0)
    assert kept == (np.random.random(12) >= .5).tolist() and len(set(kept)) == 2
    with pytest.raises(ValueError, match='a: colors must have shape'):
        packed(points, colors[1:].numpy())
    with pytest.raises(ValueError, match='needs color_views'):
        run(dict(points=points), dict(type='DropColorViews'))


# --- model ------------------------------------------------------------------------------------------------------------

def model_of(views, **options):
    torch.manual_seed(0)
    return MODELS.build(dict(tiny_model_config(), views=views, **options)).eval()


def batch_of(generator_seed=0, objects=3):
    generator = torch.Generator().manual_seed(generator_seed)
    return dict(depth_views=torch.rand(objects, 2, 32, 32, generator=generator),
                color_views=torch.rand(objects, 2, 3, 32, 32, generator=generator))


@pytest.mark.parametrize('aggregation', ['softmax_sum', 'sum'])
def test_logits_of_both_are_the_weighted_sum_and_scores_rank_alike(aggregation):
    model, inputs = model_of('both', color_weight=.3), batch_of()
    model.zero_shot_head.aggregation = model.color.head.aggregation = aggregation
    model.set_vocabulary(WORDS)
    depth = model_of('depth')
    depth.zero_shot_head.aggregation = aggregation
    depth.set_vocabulary(WORDS)
    color = depth.encode_views(inputs['color_views'], 'pretrained')
    texts = F.normalize(torch.stack([depth.backbone.encode_text(
        [template.replace('{}', word) for template in model.color.head.templates]) for word in WORDS]), dim=-1)
    cosines = color @ F.normalize(texts.mean(1), dim=-1).t()
    of_color = cosines.mean(1) if aggregation == 'sum' else cosines.softmax(-1).mean(1).log()
    expected = .7 * depth.class_logits(inputs['depth_views']) + .3 * of_color
    logits = model.class_logits(inputs['depth_views'], inputs['color_views'])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    scores = model.zero_shot(inputs['depth_views'], inputs['color_views'])
    assert torch.equal(scores.argsort(1), logits.argsort(1))
    samples = model(inputs, mode='predict')
    torch.testing.assert_close(torch.stack([sample.pred_scores for sample in samples]), scores)
    assert model.color.head.templates[0].startswith('a bad photo of a {}'), 'prompts of photos'


def test_objects_without_colors_have_depth_alone_and_it_is_said_once(caplog):
    model, inputs = model_of('both'), batch_of()
    model.set_vocabulary(WORDS)
    both, has_color = model.zero_shot(**rename(inputs)), torch.tensor([True, False, True])
    with caplog.at_level(logging.WARNING):
        mixed = model.zero_shot(**rename(inputs), has_color=has_color)
        alone = model.zero_shot(inputs['depth_views'])
    assert torch.equal(mixed[[0, 2]], both[[0, 2]]) and torch.equal(mixed[1], alone[1])
    depth = model_of('depth')
    depth.set_vocabulary(WORDS)
    assert torch.equal(alone, depth.zero_shot(inputs['depth_views']))
    assert sum('depth views alone' in record.getMessage() for record in caplog.records) <= 1 and model.color._said
    with pytest.raises(ValueError, match='3 objects, but color views of 2'):
        model.zero_shot(inputs['depth_views'], inputs['color_views'][:2])


def rename(inputs):
    return dict(views=inputs['depth_views'], color_views=inputs['color_views'])


def test_color_alone_needs_no_depth_and_refuses_objects_without_colors():
    model, inputs = model_of('color'), batch_of()
    model.set_vocabulary(WORDS, ['a picture of a {}'])
    assert model.color.head.templates == ('a picture of a {}', ) and model.zero_shot_head.templates == ('a {}', )
    samples = model(dict(color_views=inputs['color_views']), mode='predict')
    assert len(samples) == 3 and samples[0].pred_scores.shape == (4, )
    torch.testing.assert_close(samples[0].pred_scores, samples[0].pred_scores_pretrained)
    with pytest.raises(ValueError, match="1 of 3 objects have no colors, which views='color' needs"):
        model.zero_shot(color_views=inputs['color_views'], has_color=torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match="no 'color_views'"):
        model(dict(depth_views=inputs['depth_views']), mode='predict')
    with pytest.raises(ValueError, match="embedded by their 'depth_views'"):
        model(dict(color_views=inputs['color_views']))


def test_color_views_are_aligned_where_the_tuned_branch_encodes_them():
    inputs = dict(batch_of(), images=torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(3)),
                  has_color=torch.tensor([True, False, True]))
    model = model_of('both', color_head=dict(templates=['{}'], branches='tuned'), color_weight=.25)
    depth, color = (model.encode_views(inputs[name], 'tuned').mean(1) for name in ('depth_views', 'color_views'))
    share = torch.tensor([[.25], [0], [.25]])
    features = F.normalize((1 - share) * depth + share * color, dim=-1)
    image = F.normalize(model.encode_views(inputs['images'], 'pretrained').mean(1), dim=-1)
    found, expected = model(inputs, mode='loss'), model.alignment_head.loss(
        features, image, model.backbone.logit_scale.exp())
    torch.testing.assert_close(found['loss_contrastive'], expected['loss_contrastive'])
    with pytest.raises(ValueError, match='needs depth_views and color_views|needs color_views'):
        model({name: inputs[name] for name in ('depth_views', 'images')}, mode='loss')
    untuned = model_of('both')({name: inputs[name] for name in ('depth_views', 'images')}, mode='loss')
    assert torch.equal(untuned['loss_contrastive'], model_of('depth')(inputs, mode='loss')['loss_contrastive'])
    with pytest.raises(ValueError, match='nothing to train'):
        model_of('color')(inputs, mode='loss')


@pytest.mark.parametrize('options, message', [
    (dict(views='colour'), "views must be 'depth', 'color' or 'both'"),
    (dict(views='both', color_weight=1.), r'color_weight must lie in \(0, 1\)'),
    (dict(views='both', color_head=dict(aggregation='sum')),
     "aggregation of color_head, 'sum', must be that of zero_shot_head"),
    (dict(views='both', return_embeddings=True), 'embeddings are those of depth views'),
    (dict(views='both', zero_shot_head=None), 'needs a zero_shot_head'),
    (dict(views='both', zero_shot_head=dict(type='WeightedViewHead')), 'WeightedViewHead are not made for'),
])
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model_of(**options)


def test_compared_systems_take_depth_views_alone():
    with pytest.raises(ValueError, match='PointCLIP classifies by depth views alone'):
        PointCLIP(dict(tiny_model_config()['backbone'], num_blocks=0), views='both')


# --- detector and inferencers -----------------------------------------------------------------------------------------

def test_detector_projects_the_colors_in_its_boxes():
    detector = tiny_detector('GroundTruthProposals', views='both')
    detector.set_vocabulary(CLASSES)
    points, colors = colored_shape('chair')
    crops = [torch.cat([points, colors.float()], dim=1)]
    expected = detector.classifier.class_logits(
        detector.projection([points]), detector.color_projection([points], [colors]))
    expected = detector.bbox_head.probabilities(expected)[:, :len(CLASSES)]
    torch.testing.assert_close(detector.classify_crops(crops, points), expected)
    without = detector.classify_crops([points], points)
    assert not torch.allclose(without, expected)
    depth = tiny_detector('GroundTruthProposals')
    depth.set_vocabulary(CLASSES)
    torch.testing.assert_close(without, depth.classify_crops([points], points))


def test_pages_of_a_scene_have_the_classes_by_color():
    detector = tiny_detector(dict(type='ClusterProposals', max_proposals=4), views='color')
    scene = torch.from_numpy(room()[:, :3])
    scene = torch.cat([scene, torch.randint(0, 256, scene.shape, generator=torch.Generator().manual_seed(0))], dim=1)
    shown = detect_scene(detector, dict(inputs=dict(points=[scene]), data_samples=[Det3DDataSample()]), CLASSES,
                         num_classes=1)
    assert shown.depth_views.shape[:2] == (len(shown.labels), 2)
    # The score of a box of the detector's predict is its objectness times the probability of its label.
    best = [f'{name} ' for ((name, _), ) in shown.classes]
    assert any(label.startswith(name) for label, name in zip(shown.labels, best))
    depth = tiny_detector(dict(type='ClusterProposals', max_proposals=4), views='depth')
    plain = detect_scene(depth, dict(inputs=dict(points=[scene]), data_samples=[Det3DDataSample()]), CLASSES,
                         num_classes=1)
    assert plain.classes != shown.classes


def test_scenes_are_detected_by_their_colors_and_features_are_kept(tmp_path):
    points = room()[:, :3]
    colors = np.random.default_rng(0).integers(0, 256, (len(points), 3))
    scene = np.concatenate([points, colors], axis=1)
    found = {views: scene_inferencer(views=views)(scene, CLASSES, up='z')['predictions'][0]['boxes']
             for views in ('depth', 'both')}
    assert len(found['both']) == len(found['depth'])
    assert [box['score'] for box in found['both']] != [box['score'] for box in found['depth']]
    color = scene_inferencer(views='color')
    first = color(scene, CLASSES, up='z', save_features=tmp_path)['predictions'][0]['boxes']
    second = color(scene, CLASSES, up='z', load_features=tmp_path)['predictions'][0]['boxes']
    assert first == second and len(first)
    assert 'no colors' in color(points, CLASSES, up='z')['predictions'][0]['error']
    other = scene_inferencer(views='both')(scene, CLASSES, up='z', load_features=tmp_path)['predictions'][0]
    assert 'other settings (color_branches' in other['error'] or 'other settings (views' in other['error']


def test_shapes_are_classified_by_their_colors():
    clouds = [np.concatenate([cloud, np.full((len(cloud), 3), 100)], axis=1) for cloud in shapes()[:2]]
    both = shape_inferencer(views='both')
    found = both([*clouds, shapes()[2]], WORDS, top_k=4)['predictions']
    views = both.projection([torch.from_numpy(cloud[:, :3]) for cloud in clouds])
    colors = both.color_projection([torch.from_numpy(cloud[:, :3]) for cloud in clouds],
                                   [torch.full((len(cloud), 3), 100, dtype=torch.uint8) for cloud in clouds])
    expected = (both.model.class_logits(views, colors) / .01).softmax(1).amax(1).tolist()
    assert [each['scores'][0] for each in found[:2]] == pytest.approx(expected, abs=1e-4)
    alone = shape_inferencer()(shapes()[2], WORDS, top_k=4)['predictions'][0]
    assert found[2]['labels'] == alone['labels']
    by_color = shape_inferencer(views='color')
    found = by_color(clouds, WORDS, top_k=4)['predictions']
    expected = (by_color.model.class_logits(color_views=colors) / .01).softmax(1).amax(1).tolist()
    assert [each['scores'][0] for each in found] == pytest.approx(expected, abs=1e-4)
    embedded, depth = (each(clouds, WORDS, embed=True)['predictions'] for each in (by_color, shape_inferencer()))
    assert embedded[0]['scores'] == found[0]['scores'][:4]
    assert embedded[0]['embedding'] == pytest.approx(depth[0]['embedding'], abs=1e-5)
    color = by_color(shapes()[2], WORDS)['predictions'][0]
    assert "has no colors, which views='color' needs" in color['error']
    with pytest.raises(ValueError, match='views must be one of depth, color, both'):
        shape_inferencer(views='photo')
