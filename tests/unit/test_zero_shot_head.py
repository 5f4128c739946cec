"""ZeroShotHead: which view comes from which branch, both aggregations, the vocabulary and its errors."""
import pytest
import torch
import torch.nn.functional as F

from opendlign_mm.models import ZeroShotHead
from opendlign_mm.models.zero_shot_model import select_views

NAMES = ['chair', 'table', 'sofa']
TEMPLATES = ['a {}', 'the {}']


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TextEncoder:
    """A different direction for each text; counts its calls."""

    def __init__(self, dim=8):
        self.dim, self.texts = dim, []

    def __call__(self, texts):
        self.texts += texts
        return torch.stack([random(self.dim, seed=sum(map(ord, text)) + len(text)) for text in texts])


@pytest.fixture
def views():
    return F.normalize(random(2, 5, 8, seed=1), dim=-1), F.normalize(random(2, 5, 8, seed=2), dim=-1)


def head(**options) -> ZeroShotHead:
    return ZeroShotHead(**{**dict(class_names=NAMES, templates=TEMPLATES), **options})


def test_first_half_of_the_views_is_pretrained(views):
    pretrained, tuned = views
    both = select_views(pretrained, tuned, 'both')
    assert torch.equal(both[:, :2], pretrained[:, :2]) and torch.equal(both[:, 2:], tuned[:, 2:])
    assert torch.equal(select_views(pretrained, None, 'pretrained'), pretrained)
    assert torch.equal(select_views(None, tuned, 'tuned'), tuned)


@pytest.mark.parametrize('logit_scale, factor', [(None, 1.), (30., 30.), ('clip', 100.)])
def test_softmax_sum_written_out(views, logit_scale, factor, device):
    model = head(logit_scale=logit_scale)
    classes = model.vocabulary_features(TextEncoder())
    pretrained, tuned = (features.to(device) for features in views)
    scores = model.scores(classes, pretrained, tuned, clip_logit_scale=torch.tensor(100.))
    expected = torch.zeros(2, 3)
    for index in range(5):
        cosines = views[index >= 2][:, index] @ classes.T
        expected += (factor * cosines).exp() / (factor * cosines).exp().sum(1, keepdim=True)
    assert scores.device.type == device.type and scores.dtype == torch.float32
    torch.testing.assert_close(scores.cpu(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores.sum(1).cpu(), torch.full((2, ), 5.))


def test_sum_of_cosines(views):
    model = head(aggregation='sum', branches='tuned')
    classes = model.vocabulary_features(TextEncoder())
    torch.testing.assert_close(model.scores(classes, tuned=views[1]), (views[1] @ classes.T).sum(1))
    torch.testing.assert_close(model.scores(classes, pretrained=views[0], branches='pretrained'),
                               (views[0] @ classes.T).sum(1))
    # Views count by their direction only.
    torch.testing.assert_close(model.scores(classes, tuned=7 * views[1]), model.scores(classes, tuned=views[1]))


def test_class_logits_do_not_depend_on_the_number_of_views(views):
    pretrained, tuned = (features[:, :4] for features in views)
    for options in (dict(), dict(logit_scale=30.), dict(logit_scale='clip'), dict(aggregation='sum')):
        model = head(**options)
        classes = model.vocabulary_features(TextEncoder())
        logits = model.class_logits(classes, pretrained, tuned, clip_logit_scale=torch.tensor(100.))
        mean_scores = model.scores(classes, pretrained, tuned, clip_logit_scale=torch.tensor(100.)) / 4
        if model.aggregation == 'softmax_sum':
            mean_scores = mean_scores.log()
        torch.testing.assert_close(logits, mean_scores, atol=1e-4, rtol=1e-4)
        # The same views twice
        doubled = (features.repeat_interleave(2, dim=1) for features in (pretrained, tuned))
        torch.testing.assert_close(model.class_logits(classes, *doubled, clip_logit_scale=100.), logits)


def test_class_logits_of_known_cosines():
    views = torch.tensor([[[1., 0.], [0., 1.]]])
    classes = torch.tensor([[1., 0.], [0.6, 0.8]])
    # Cosines: 1 and 0.6 in the first view, 0 and 0.8 in the second.
    logits = head(aggregation='sum', branches='tuned').class_logits(classes, tuned=views)
    torch.testing.assert_close(logits, torch.tensor([[0.5, 0.7]]))
    # Softmax of the views: 0.598688, 0.401312 and 0.310026, 0.689974
    logits = head(branches='tuned').class_logits(classes, tuned=views)
    torch.testing.assert_close(logits.exp(), torch.tensor([[0.454357, 0.545643]]), atol=1e-5, rtol=0)


def test_autocast_does_not_round_the_scores(views, device):
    model = head(logit_scale=100.)
    classes = model.vocabulary_features(TextEncoder())
    pretrained, tuned = (features.to(device) for features in views)
    exact = model.scores(classes, pretrained, tuned)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        torch.testing.assert_close(model.scores(classes, pretrained, tuned), exact, atol=0, rtol=0)


def test_class_features_are_kept_until_the_vocabulary_changes():
    model, encoder = head(), TextEncoder()
    first = model.vocabulary_features(encoder)
    assert first.shape == (3, 8) and len(encoder.texts) == 6
    torch.testing.assert_close(first.norm(dim=1), torch.ones(3))
    assert model.vocabulary_features(encoder) is first and len(encoder.texts) == 6
    model.set_vocabulary(['bed', 'sofa'])
    assert model.templates == tuple(TEMPLATES)
    second = model.vocabulary_features(encoder)
    torch.testing.assert_close(second[1], first[2])
    model.set_vocabulary(['bed'], ['my {}'])
    model.vocabulary_features(encoder)
    assert encoder.texts[-1] == 'my bed'
    assert not model.state_dict()


def test_required_branches():
    assert head().required_branches == ('pretrained', 'tuned')
    assert head(branches='tuned').required_branches == ('tuned', )
    assert head(branches='pretrained').required_branches == ('pretrained', )


def test_class_features_are_stored_only_with_a_folder_and_a_key(tmp_path):
    asked = []

    def key():
        asked.append(1)
        return 'encoder'

    head().vocabulary_features(TextEncoder(), key)
    assert not asked, 'the key of an encoder takes a hash of its weights'
    head(text_cache_dir=tmp_path).vocabulary_features(TextEncoder())
    head(text_cache_dir=tmp_path).vocabulary_features(TextEncoder(), lambda: None)
    assert not list(tmp_path.iterdir())
    first = head(text_cache_dir=tmp_path).vocabulary_features(TextEncoder(), key)
    assert len(list(tmp_path.iterdir())) == 1
    encoder = TextEncoder()
    assert torch.equal(head(text_cache_dir=tmp_path).vocabulary_features(encoder, key), first) and not encoder.texts


def test_class_features_are_moved_to_the_device_once():
    model, encoder = head(), TextEncoder()
    moved = model.vocabulary_features(encoder, device=torch.device('meta'))
    assert moved.is_meta and moved.shape == (3, 8)
    assert model.vocabulary_features(encoder, device=torch.device('meta')) is moved and len(encoder.texts) == 6


def test_large_vocabularies_are_checked_in_linear_time():
    comparisons = []

    class Name(str):
        def __eq__(self, other):
            comparisons.append(self)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = [Name(f'class {index}') for index in range(500)]
    head(class_names=names)
    assert len(comparisons) < 5 * len(names)
    with pytest.raises(ValueError, match='more than once: class 7'):
        head(class_names=[*names, Name('class 7')])


def test_no_objects(views):
    model = head()
    classes = model.vocabulary_features(TextEncoder())
    assert model.scores(classes, views[0][:0], views[1][:0]).shape == (0, 3)


@pytest.mark.parametrize('names, message', [
    ([], 'vocabulary is empty'),
    (['chair', 'bed', 'chair'], 'more than once: chair'),
    ('chair', "a list of names, got the single string 'chair'"),
    (['chair', ' '], 'non-empty string'),
    (['chair', 3], 'non-empty string'),
])
def test_wrong_vocabulary(names, message):
    model = head()
    with pytest.raises(ValueError, match=message):
        model.set_vocabulary(names)
    assert model.class_names == tuple(NAMES), 'the old vocabulary stays'


@pytest.mark.parametrize('templates, message', [
    (['a picture'], "'a picture' has no '{}'"),
    ([], 'at least one string'),
])
def test_wrong_templates(templates, message):
    with pytest.raises(ValueError, match=message):
        head().set_vocabulary(['bed'], templates)


@pytest.mark.parametrize('options, message', [
    (dict(aggregation='mean'), "aggregation must be 'softmax_sum' or 'sum'"),
    (dict(branches='depth'), "branches must be 'both', 'pretrained' or 'tuned'"),
    (dict(logit_scale='own'), "None, a number or 'clip'"),
])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        head(**options)


def test_what_is_missing_is_named(views):
    with pytest.raises(RuntimeError, match='no vocabulary.*set_vocabulary'):
        ZeroShotHead().vocabulary_features(TextEncoder())
    model = head(logit_scale='clip')
    classes = model.vocabulary_features(TextEncoder())
    with pytest.raises(ValueError, match="needs the features of the 'tuned' branch"):
        model.scores(classes, views[0])
    with pytest.raises(ValueError, match='needs clip_logit_scale'):
        model.scores(classes, *views)
    with pytest.raises(ValueError, match='one shape'):
        model.scores(classes, views[0], views[1][:, :4])
    with pytest.raises(ValueError, match=r'\(B, V, D\), got \(5, 8\)'):
        model.scores(classes, views[0][0], views[1][0])
