"""tools/convert_checkpoint.py: the release's layout read and written, checked against a forward pass of our own."""
import argparse
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from open_clip import CLIP, SimpleTokenizer

from helpers.tool_modules import REPOSITORY, run_tool
from opendlign_mm.apis import init_model, load_foreign_checkpoint
from opendlign_mm.models.pixels import IMAGENET_MEAN, IMAGENET_STD
from opendlign_mm.models.released import CONTROL_BLOCKS

CLASSES = ['chair', 'sofa', 'lamp']


def convert(*arguments):
    return run_tool('convert_checkpoint', 'opendlign', *arguments)


@pytest.fixture(scope='module')
def release(tmp_path_factory):
    """A released checkpoint of a small CLIP, its config, and what the release would compute from it."""
    folder = tmp_path_factory.mktemp('release')
    clip_config = dict(
        embed_dim=24,
        quick_gelu=True,
        vision_cfg=dict(image_size=32, patch_size=8, width=32, layers=3, head_width=16),
        text_cfg=dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=2))
    torch.manual_seed(5)
    clip = CLIP(**clip_config).eval()
    tuned = {f'{CONTROL_BLOCKS}0.{key}': value + .1 * torch.randn_like(value)
             for key, value in clip.visual.transformer.resblocks[-1].state_dict().items()}
    state = {f'module.clip_model.{key}': value for key, value in clip.state_dict().items()}
    state.update({f'module.{key}': value for key, value in tuned.items()})
    state['module.logit_scale'] = clip.logit_scale.detach()
    torch.save(dict(epoch=3, args=argparse.Namespace(lr=3e-4), model_state_dict=state), folder / 'released.pt')

    views = torch.rand(2, 4, 3, 32, 32)
    with torch.no_grad():
        expected = independent_forward(clip, tuned, views)
    (folder / 'clip.json').write_text(json.dumps(clip_config))
    Config(dict(
        custom_imports=dict(imports=['opendlign_mm'], allow_failed_imports=False),
        default_scope='mmdet3d',
        model=dict(
            type='OpenDlign',
            backbone=dict(type='CLIPDepthBackbone', clip='small', model_config=str(folder / 'clip.json'),
                          pretrained=None),
            zero_shot_head=dict(type='ZeroShotHead', class_names=CLASSES, templates=['a {}'])))).dump(
                str(folder / 'config.py'))
    return argparse.Namespace(folder=folder, views=views, expected=expected, state=state)


def independent_forward(clip, tuned, views):
    """The release's forward pass, written from its description with open_clip's layers alone."""
    visual = clip.visual
    block = type(visual.transformer.resblocks[-1])
    copied = block(32, 2, act_layer=type(visual.transformer.resblocks[-1].mlp.gelu))
    copied.load_state_dict({key.removeprefix(f'{CONTROL_BLOCKS}0.'): value for key, value in tuned.items()})
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (views.flatten(0, 1) - mean) / std
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    tokens = torch.cat((visual.class_embedding.expand(len(patches), 1, -1), patches), 1) + visual.positional_embedding
    tokens = visual.ln_pre(tokens)
    for layer in visual.transformer.resblocks[:-1]:
        tokens = layer(tokens)
    last = visual.transformer.resblocks[-1](tokens)
    branches = dict(pretrained=last, tuned=.5 * last + .5 * copied(tokens))
    features = {name: F.normalize(visual.ln_post(value[:, 0]) @ visual.proj, dim=-1).view(2, 4, -1)
                for name, value in branches.items()}
    texts = F.normalize(clip.encode_text(SimpleTokenizer()([f'a {name}' for name in CLASSES])), dim=-1)
    mixed = torch.cat((features['pretrained'][:, :2], features['tuned'][:, 2:]), 1)
    return dict(features, scores=(mixed @ texts.T).softmax(-1).sum(1))


@pytest.fixture(scope='module')
def converted(release):
    finished = convert(release.folder / 'released.pt', release.folder / 'ours.pth', '--config',
                       release.folder / 'config.py')
    assert finished.returncode == 0, finished.stderr
    assert 'not placed: logit_scale' in finished.stdout
    return release.folder / 'ours.pth'


def test_converted_weights_compute_what_the_release_computes(release, converted):
    # A tag that cannot be had: the checkpoint holds the CLIP, so nobody may ask for it.
    model = init_model(release.folder / 'config.py', converted, cfg_options={'model.backbone.pretrained': 'nowhere.pt'})
    with torch.no_grad():
        features = model.encode_views(release.views, ('pretrained', 'tuned'))
    for name, value in dict(features, scores=model.zero_shot(release.views)).items():
        torch.testing.assert_close(value, release.expected[name], atol=1e-5, rtol=0)
    assert (features['pretrained'] - features['tuned']).abs().max() > 1e-3, 'the copy differs from its origin'


def test_other_prompts_than_the_authors_are_said_once(release, converted, monkeypatch):
    said = []
    monkeypatch.setattr('opendlign_mm.models.zero_shot_head.print_log', lambda text, *_: said.append(text))
    model = init_model(release.folder / 'config.py', converted)
    for classes in (CLASSES, CLASSES[:2]):
        model.set_vocabulary(classes)
        model.zero_shot(release.views)
    assert len(said) == 1 and "1 other(s), such as 'a {}'" in said[0] and '--templates FILE' in said[0]
    model = init_model(release.folder / 'config.py', converted)
    model.set_vocabulary(CLASSES, [f'depth map {number} of a {{}}, a {{}}' for number in range(80)])
    model.zero_shot(release.views)
    assert len(said) == 1


def test_there_and_back_is_exact(release, converted):
    back = release.folder / 'back.pt'
    finished = convert(converted, back, '--config', release.folder / 'config.py', '--to-release')
    assert finished.returncode == 0, finished.stderr
    original = {key.removeprefix('module.'): value for key, value in release.state.items()}
    returned = load_foreign_checkpoint(back, 'model_state_dict')
    assert set(returned) == set(original)
    assert all(torch.equal(returned[key], original[key]) for key in original)


def test_trained_only_is_small_and_names_its_clip(release, converted):
    small = release.folder / 'small.pth'
    finished = convert(release.folder / 'released.pt', small, '--config', release.folder / 'config.py',
                       '--trained-only')
    assert finished.returncode == 0, finished.stderr
    assert small.stat().st_size < .05 * converted.stat().st_size
    with pytest.raises(RuntimeError, match='was trained on'):
        init_model(release.folder / 'config.py', small)  # the config's CLIP has random weights


def test_every_missing_entry_is_named_and_nothing_written(release):
    state = {key: value for key, value in release.state.items() if 'ln_post' not in key}
    state['module.clip_model.novelty'] = torch.zeros(1)
    torch.save(dict(model_state_dict=state), release.folder / 'partial.pt')
    finished = convert(release.folder / 'partial.pt', release.folder / 'none.pth', '--config',
                       release.folder / 'config.py')
    assert finished.returncode == 2 and 'Traceback' not in finished.stderr
    for name in ('weight', 'bias'):
        assert f'backbone.clip.visual.ln_post.{name} is missing' in finished.stderr
    assert not (release.folder / 'none.pth').exists()


def test_another_clip_size_is_refused(release):
    finished = convert(release.folder / 'released.pt', release.folder / 'none.pth', '--config',
                       REPOSITORY / 'configs' / 'opendlign_tiny.py')
    assert finished.returncode == 2 and 'has shape (32,) instead of (256,)' in finished.stderr
    assert not (release.folder / 'none.pth').exists()


@pytest.mark.parametrize('content, message', [(b'\x80\x02garbage', 'damaged'), (b'', 'damaged')])
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / 'broken.pt').write_bytes(content)
    with pytest.raises(ValueError, match=f'broken.pt is {message}'):
        load_foreign_checkpoint(tmp_path / 'broken.pt', 'model_state_dict')


def test_what_others_allowed_stays_allowed(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    contents = dict(args=argparse.Namespace(lr=np.float64(1)), model_state_dict=dict(a=torch.ones(1)))
    torch.save(contents, tmp_path / 'a.pt')
    assert torch.equal(load_foreign_checkpoint(tmp_path / 'a.pt', 'model_state_dict')['a'], torch.ones(1))
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_checkpoint_cannot_run_code(tmp_path):
    torch.save(dict(model_state_dict=dict(a=Config(dict(a=1)))), tmp_path / 'code.pt')
    with pytest.raises(ValueError, match='read safely'):
        load_foreign_checkpoint(tmp_path / 'code.pt', 'model_state_dict')
