"""Templates for depth maps, template files, and class features."""
import json
import warnings

import pytest
import torch
import torch.nn.functional as F
from open_clip import SimpleTokenizer

from opendlign_mm.models.prompts import (
    depth_templates,
    encode_class_names,
    imagenet_templates,
    load_templates,
    resolve_templates,
    warn_of_unknown_words,
)


def test_depth_templates_are_the_80_imagenet_templates_reworded_for_depth():
    templates = depth_templates()
    assert len(templates) == len(set(templates)) == len(imagenet_templates()) == 80
    for template, original in zip(templates, imagenet_templates()):
        assert 'photo' not in template and 'itap' not in template
        assert 'gray {} 3D model with white background' in template
        for keyword in ('a silhouette of a {}', 'a raytraced image', 'image dataset', 'kinetic pointillism'):
            assert keyword in template
        if 'photo' in original:
            assert 'depth map' in template or 'depth image' in template
    assert {'depth map', 'depth image'} == {kind for kind in ('depth map', 'depth image')
                                            for template in templates if kind in template}
    assert templates[0].startswith('a bad depth map of a gray {} 3D model with white background, ')


def test_depth_prompts_fit_into_the_context_of_clip():
    tokenizer = SimpleTokenizer()
    lengths = [len(tokenizer.encode(template.replace('{}', 'shower curtain'))) for template in depth_templates()]
    assert max(lengths) <= 75


def test_template_files(tmp_path):
    path = tmp_path / 'templates.json'
    path.write_text(json.dumps({'modelnet40': ['a {}, a silhouette of a {}'], 'scanobjectnn': ['the {}']}))
    assert load_templates(path, 'modelnet40') == ('a {}, a silhouette of a {}', )
    assert resolve_templates(f'{path}#scanobjectnn') == ('the {}', )
    with pytest.raises(ValueError, match=r"\['modelnet40', 'scanobjectnn'\]; choose one of them as .*#<name>', got N"):
        load_templates(path)
    path.write_text(json.dumps({'only': ['a {}']}))
    assert load_templates(path) == ('a {}', )
    path.write_text(json.dumps(['a {}', 'a photo']))
    with pytest.raises(ValueError, match="'a photo' has no '{}'"):
        load_templates(path)
    for damaged in ('["a {}"', '', '[' * 100_000):
        path.write_text(damaged)
        with pytest.raises(ValueError, match='templates.json is not JSON'):
            load_templates(path)
    path.write_bytes(b'["\xff"]')
    with pytest.raises(ValueError, match='templates.json is not JSON'):
        resolve_templates(str(path))
    with pytest.raises(FileNotFoundError, match='none.json.*depth'):
        resolve_templates(str(tmp_path / 'none.json'))


def test_named_and_single_templates():
    assert resolve_templates(None) == resolve_templates('depth') == depth_templates()
    assert resolve_templates('imagenet') == imagenet_templates()
    assert resolve_templates('a {}') == ('a {}', )


def test_class_feature_is_the_normalized_mean_of_normalized_prompts():
    asked = []

    def encode_text(texts):
        asked.append(texts)
        return torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(sum(map(ord, t)))) for t in texts])

    templates = ['a {}', 'a {} like a {}', 'the {}']
    features = encode_class_names(encode_text, ['night_stand', 'bed'], templates, batch_size=4)
    assert [len(texts) for texts in asked] == [4, 2], 'prompts are encoded in batches'
    assert asked[0][:3] == ['a night stand', 'a night stand like a night stand', 'the night stand']
    prompts = F.normalize(encode_text(['a bed', 'a bed like a bed', 'the bed']), dim=-1)
    torch.testing.assert_close(features[1], F.normalize(prompts.mean(0), dim=0))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


def test_unknown_words_are_warned_of():
    tokenizer = SimpleTokenizer()
    known = tokenizer(['a chair']).unique()
    with pytest.warns(UserWarning, match='knows nothing of: sofa'):
        warn_of_unknown_words(tokenizer(['a sofa', 'a chair']), known, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_unknown_words(tokenizer(['a chair']), known, tokenizer)
        warn_of_unknown_words(tokenizer(['a sofa']), None, tokenizer)
