"""Published layouts through the converter and the configs: outputs of the released code on stand-in weights."""
import argparse

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip import CLIP
from test_parity_point_encoders import Fixture, close

from helpers.parity import stand_in_state
from helpers.tool_modules import REPOSITORY
from opendlign_mm.apis import init_model
from opendlign_mm.apis.convert_tri_modal import tri_modal_from_release, tri_modal_to_release

CONFIGS = REPOSITORY / 'configs/baselines'


@pytest.fixture
def fixture(shared_dir):
    return lambda name: Fixture(shared_dir, name)


def stand_in(system, facts, prefix='module.', rescale=False):
    return {prefix + key: value for key, value in stand_in_state(system.weights, facts, rescale).items()}


def converted(system, config, contents, tmp_path, **options):
    """Convert, come back, compare with the source, and build the model from the config and the converted file."""
    config = CONFIGS / f'{config}.py'
    torch.save(contents, tmp_path / 'released.pt')
    tri_modal_from_release(system, tmp_path / 'released.pt', tmp_path / 'ours.pth', config, **options)
    tri_modal_to_release(system, tmp_path / 'ours.pth', tmp_path / 'back.pt', config)
    back = torch.load(tmp_path / 'back.pt', weights_only=True)
    for part in back.keys():
        for key, value in back[part].items():
            source = contents.get(part, contents)
            name = key if key in source else key.replace('module.', 'pc_encoder.', 1)
            assert torch.equal(value.reshape(-1), source[name].reshape(-1)), key
    clip = {} if system == 'ulip' else {'model.text_encoder': None}
    return init_model(config, tmp_path / 'ours.pth', cfg_options=dict(clip, **{'model.class_features': None}))


@torch.no_grad()
def test_ulip_with_its_clip(fixture, tmp_path):
    ulip = fixture('ulip_pointbert')
    torch.manual_seed(0)
    text = CLIP(512, dict(image_size=32, patch_size=16, width=32, layers=1, head_width=16),
                dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12), quick_gelu=True).eval()
    import timm
    visual = timm.create_model('vit_base_patch16_224', num_classes=0, global_pool='token').eval()
    projection = torch.randn(768, 512) / 28
    slip = {key: value for key, value in text.state_dict().items() if not key.startswith(('visual.', 'logit_scale'))}
    slip.pop('attn_mask', None)
    slip.update({f'visual.{key}': value for key, value in visual.state_dict().items()}, image_projection=projection)
    state = {**stand_in(ulip, ulip.facts), **{f'module.{key}': value for key, value in slip.items()},
             'module.logit_scale': torch.tensor(3.)}
    model = converted('ulip', 'ulip_pointbert', dict(
        state_dict=state, epoch=3, args=argparse.Namespace(model='ULIP_PointBERT')), tmp_path)
    close(model.encode_points(ulip.arrays['points']), ulip.arrays['embedding'], ulip.facts['noise']['embedding'])
    assert float(model.alignment_head.logit_scale) == 3
    tokens = model.text_encoder.encode_text(['a chair', 'sofa'])
    expected = text.encode_text(model.text_encoder._tokenizer(['a chair', 'sofa']))
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((.485, .456, .406), (.229, .224, .225)))
    torch.testing.assert_close(model.text_encoder(images)['pretrained'], visual((images - mean) / std) @ projection,
                               atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize('name, prefix', [('g14', 'module.'), ('l14', 'pc_encoder.')])
def test_openshape_pointbert(fixture, tmp_path, name, prefix):
    openshape = fixture('openshape_pointbert')
    facts = openshape.facts[name]
    state = stand_in(openshape, facts, prefix)
    contents = dict(state_dict=state, logit_scale={'module.logit_scale': torch.tensor([2.5])}, epoch=7)
    model = converted('openshape', f'openshape_pointbert_{name}', contents if name == 'g14' else state, tmp_path)
    arrays = openshape.arrays
    close(model.encode_points(arrays['points'], arrays['rgb']), arrays[f'{name}_embedding'], facts['noise'])


@torch.no_grad()
def test_openshape_sparse_conv(fixture, tmp_path):
    openshape = fixture('openshape_sparseconv')
    contents = dict(state_dict=stand_in(openshape, openshape.facts, rescale=True))
    model = converted('openshape', 'openshape_sparseconv_g14', contents, tmp_path)
    arrays = openshape.arrays
    embedding = model.encode_points([arrays['points_0'], arrays['points_1']], [arrays['rgb_0'], arrays['rgb_1']])
    close(embedding, arrays['embedding'], openshape.facts['noise'])


@torch.no_grad()
@pytest.mark.parametrize('kind', ['pointbert', 'sparse'])
def test_tamm(fixture, tmp_path, kind):
    tamm = fixture('tamm')
    facts, arrays = tamm.facts[kind], tamm.arrays
    contents = dict(state_dict=stand_in(tamm, facts['encoder'], rescale=kind == 'sparse'))
    for name in ('image', 'text'):
        contents[f'{name}_alignment_adapter'] = stand_in(tamm, facts[f'{name}_adapter'])
    torch.save(dict(state_dict=stand_in(tamm, dict(tamm.facts['cia'], seed=tamm.facts['seed']))), tmp_path / 'cia.pt')
    config = 'tamm_pointbert_g14' if kind == 'pointbert' else 'tamm_sparseconv_g14'
    model = converted('tamm', config, contents, tmp_path, image_adapter=tmp_path / 'cia.pt')
    clouds = fixture(f'openshape_{"pointbert" if kind == "pointbert" else "sparseconv"}').arrays
    if kind == 'pointbert':
        inputs = clouds['points'], clouds['rgb']
    else:
        inputs = [clouds['points_0'], clouds['points_1']], [clouds['rgb_0'], clouds['rgb_1']]
    embeddings = model.encode_points(*inputs)
    for name in ('image', 'text'):
        close(embeddings[name], arrays[f'{kind}_{name}'], facts.get('noise', {}).get(name, 2e-6))  # README
    image = F.normalize(tamm.weights.tensor('image', (6, 5120), tamm.facts['seed']).reshape(6, 4, 1280), dim=-1)
    close(model.image_adapter(image)[..., ::8], arrays['cia'], 1e-7)
    text = F.normalize(tamm.weights.tensor('text', (40, 1280), tamm.facts['seed']), dim=-1)
    names = [f'class {index}' for index in range(40)]
    np.savez(tmp_path / 'classes.npz', names=names, features=text.numpy())
    model.class_features_file = tmp_path / 'classes.npz'
    model.set_vocabulary(names)
    close(model.zero_shot(*inputs), arrays[f'{kind}_logits'], 1e-6)
