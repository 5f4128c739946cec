"""RetrievalRecall against values worked out by hand and from end to end on a model that returns embeddings."""
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from helpers.tiny_runs import tiny_model
from opendlign_mm.evaluation import RetrievalRecall
from opendlign_mm.evaluation.retrieval_recall import partner_ranks
from opendlign_mm.models.contrastive_head import object_features
from opendlign_mm.structures import ShapeDataSample


def sample(image=None, depth=None) -> ShapeDataSample:
    made = ShapeDataSample(metainfo=dict(sample_id='s'))
    for name, value in (('image_embedding', image), ('depth_embedding', depth)):
        if value is not None:
            made.set_field(torch.as_tensor(value, dtype=torch.float32), name, dtype=torch.Tensor)
    return made


def evaluate(samples, **options):
    evaluator = Evaluator(RetrievalRecall(**options))
    for start in range(0, len(samples), 2):
        evaluator.process(samples[start:start + 2])
    return evaluator.evaluate(len(samples))


def test_worked_out_by_hand():
    images = [[1, 0], [.6, .8], [0, 1]]
    shapes = [[1, 0], [0, 1], [.8, .6]]
    metrics = evaluate([sample(*pair) for pair in zip(images, shapes)], topk=(1, 2))
    # image 0 finds shape 0; image 1 has cosines .6, .8, .96: rank 1; image 2 has 0, 1, .6: rank 1.
    assert metrics['retrieval/image_to_shape_R@1'] == pytest.approx(100 / 3)
    assert metrics['retrieval/image_to_shape_R@2'] == 100
    # shape 0 finds image 0; shape 1 has 0, .8, 1: rank 1; shape 2 has .8, .96, .6: rank 2.
    assert metrics['retrieval/shape_to_image_R@1'] == pytest.approx(100 / 3)
    assert metrics['retrieval/shape_to_image_R@2'] == pytest.approx(200 / 3)
    assert metrics['retrieval/num_samples'] == 3


def test_equals_sorting():
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(50, 8))
    gallery = queries + generator.normal(size=(50, 8))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    expected = (order == np.arange(50)[:, None]).argmax(axis=1)
    assert expected.max() > 5
    for block in (7, 1024):
        assert (partner_ranks(queries, gallery, block) == expected).all()


def test_one_embedding_for_everything_finds_nothing():
    metrics = evaluate([sample([.6, .8], [.6, .8]) for _ in range(20)])
    assert all(metrics[f'retrieval/{way}_R@{k}'] == 0 for way in ('image_to_shape', 'shape_to_image') for k in (1, 10))
    assert evaluate([sample([1, 0], [1, 0])])['retrieval/image_to_shape_R@10'] == 100


def test_errors():
    with pytest.raises(ValueError, match='sample s has no image_embedding: set return_embeddings=True'):
        evaluate([sample(depth=[1, 0])])
    with pytest.raises(ValueError, match='depth_embedding of sample s is not finite'):
        evaluate([sample([1, 0], [float('nan'), 0])])
    with pytest.raises(ValueError, match='topk must be numbers >= 1'):
        RetrievalRecall(topk=())


@torch.no_grad()
def test_model_returns_embeddings():
    model = tiny_model().eval()
    model.return_embeddings = True
    for parameter in model.backbone.tuned_blocks.parameters():
        parameter += .05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    views, images = torch.rand(3, 4, 32, 32), torch.rand(3, 4, 3, 32, 32)
    samples = model.predict(dict(depth_views=views, images=images))
    features = model.encode_views(views, ('pretrained', 'tuned'))
    mixed = torch.cat([features['pretrained'][:, :2], features['tuned'][:, 2:]], dim=1)
    depth = torch.stack([each.depth_embedding for each in samples])
    torch.testing.assert_close(depth, object_features(mixed))
    torch.testing.assert_close(model.embed_shapes(views), depth)
    assert (object_features(features['tuned']) - depth).abs().max() > 1e-3
    expected = object_features(model.encode_views(images, 'pretrained'))
    torch.testing.assert_close(torch.stack([each.image_embedding for each in samples]), expected)
    assert 'image_embedding' not in model.predict(dict(depth_views=views))[0]
    model.return_embeddings = False
    assert 'depth_embedding' not in model.predict(dict(depth_views=views, images=images))[0]
    # The head decides which branch a view comes from.
    model.zero_shot_head.branches = 'tuned'
    torch.testing.assert_close(model.embed_shapes(views), object_features(features['tuned']))


def test_defaults_and_one_k_as_a_number():
    samples = [sample(np.eye(12)[place], np.eye(12)[place]) for place in range(12)]
    assert evaluate(samples) == dict(
        {f'retrieval/{way}_R@{k}': 100 for way in ('image_to_shape', 'shape_to_image') for k in (1, 5, 10)},
        **{'retrieval/num_samples': 12})
    assert set(evaluate(samples, topk=3, prefix='mine')) == {
        'mine/image_to_shape_R@3', 'mine/shape_to_image_R@3', 'mine/num_samples'}
    with pytest.raises(ValueError, match='there are no samples to evaluate'):
        RetrievalRecall().compute_metrics([])
    with pytest.raises(ValueError, match='topk must be numbers >= 1'):
        RetrievalRecall(topk=(5, 0))


def test_rounding_of_equal_cosines_counts_as_equal():
    # The partner and one other row differ by less than float32 can tell, a third one by more.
    gallery = np.array([[1., 0], [1, 1e-4], [1, 1e-2]])
    assert partner_ranks(np.array([[1., 0]] * 3), gallery).tolist() == [1, 1, 2]


def test_an_embedding_of_zeros_has_no_cosine():
    assert partner_ranks(np.zeros((2, 3)), np.eye(2, 3)).tolist() == [1, 1]


def test_names_of_broken_samples_without_identifier():
    broken = ShapeDataSample()
    broken.set_field(torch.tensor([1., 0]), 'image_embedding', dtype=torch.Tensor)
    with pytest.raises(ValueError, match='sample [?] has no depth_embedding'):
        evaluate([broken])
