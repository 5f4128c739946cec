"""The alignment strategies of table 5: their data, a training of each kind, and the CLIP between the two stages."""
import json
import sys

import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from helpers.small_tools import SmallTools
from helpers.tiny_clip import TINY_CLIP
from helpers.tiny_runs import scalars
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.apis import init_model
from opendlign_mm.apis.convert_checkpoint import opendlign_to_clip

FOLDER = REPOSITORY / 'configs/alignment'
CAPTIONS = dict(tiny_depth_rendcad=None, tiny_depth_text_dlign='a depth map of a cup',
                tiny_dlign_text='a photo of a cup', tiny_dlign_text_depth=None)
PAIRS = dict(depth_rendcad=('depth-image', ), depth_text_dlign=('depth-image', 'depth-text'),
             dlign_text=('image-text', ), dlign_text_depth=('depth-image', ))


@pytest.mark.parametrize('strategy', PAIRS)
def test_both_models_have_each_strategy(strategy):
    for name in ('tiny', 'opendlign_h14'):
        config = Config.fromfile(FOLDER / f'{name}_{strategy}.py')
        assert tuple(config.model.alignment_head.get('pairs', ('depth-image', ))) == PAIRS[strategy]
        captions = 'text' in strategy and strategy != 'dlign_text_depth'
        assert ('caption' in config.train_dataloader.dataset.pipeline[-1]) == captions
        assert name == 'tiny' or (config.train_dataloader.dataset.get('captions') == 'captions.json') == captions
    assert 'rendcad' not in strategy or config.train_dataloader.dataset.data_root == 'data/shapenet_rendered'


@pytest.mark.parametrize('name', CAPTIONS)
def test_pipelines_give_images_and_captions(name):
    config = Config.fromfile(FOLDER / f'{name}.py')
    init_default_scope('mmdet3d')
    dataset = config.train_dataloader.dataset
    dataset.update(num_per_category=1, categories=['cup'], num_points=500)
    dataset.pipeline[0].cache_dir = None
    item = DATASETS.build(dataset)[0]
    assert item['inputs']['images'].shape == (4, 3, 112, 112) and item['inputs']['depth_views'].shape == (4, 112, 112)
    assert item['data_samples'].get('caption') == CAPTIONS[name]


def test_the_two_stages_of_images_with_texts(tmp_path, monkeypatch):
    """Train, write the tuned CLIP, train on it; and the strategy with both terms."""
    tools = SmallTools(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ['train_cfg.max_epochs=1']
    first, second = (str(FOLDER / f'tiny_dlign_text{ending}.py') for ending in ('', '_depth'))
    tools.run('train', first, '--work-dir', 'first', options=options)
    assert all('loss_image_text' in row and 'loss_contrastive' not in row for row in scalars('first').values())
    model = ['model.backbone.clip=small', 'model.backbone.pretrained=None',
             f'model.backbone.model_config={tmp_path / "small_clip.json"}']
    monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', 'opendlign', 'first/epoch_1.pth', 'clip.pt', '--config',
                                      first, '--to-clip', '--cfg-options', *model])
    load_tool('convert_checkpoint').main()
    tools.run('train', second, '--work-dir', 'second', options=[*options, 'model.backbone.pretrained=clip.pt'])
    assert all('loss_contrastive' in row for row in scalars('second').values())
    tools.run('train', str(FOLDER / 'tiny_depth_text_dlign.py'), '--work-dir', 'both', options=options)
    assert all(row['loss'] == pytest.approx(row['loss_contrastive'] + row['loss_distance'] + row['loss_depth_text'])
               for row in scalars('both').values())


def small_config(**backbone) -> Config:
    return Config(dict(default_scope='mmdet3d', model=dict(type='OpenDlign', backbone=dict(
        type='CLIPDepthBackbone', clip='tiny', model_config=TINY_CLIP, pixel_mean='imagenet', pixel_std='imagenet',
        **backbone))))


def test_the_clip_of_tuned_blocks_embeds_images_as_the_tuned_branch(tmp_path):
    paths = [str(tmp_path / name) for name in ('tuned.pth', 'clip.pt', 'config.py')]
    config = small_config(combine='shared', num_blocks=2)
    config.dump(paths[2])
    model = init_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += .05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    torch.save(dict(state_dict=model.state_dict()), paths[0])
    opendlign_to_clip(*paths)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    expected = model.backbone(images)
    found = init_model(small_config(pretrained=paths[1])).backbone(images)
    torch.testing.assert_close(found['pretrained'], expected['tuned'])
    assert (found['pretrained'] - expected['pretrained']).abs().max() > 1e-3
    texts = ['a chair', 'a lamp']
    torch.testing.assert_close(init_model(small_config(pretrained=paths[1])).backbone.encode_text(texts),
                               model.backbone.encode_text(texts))


@pytest.mark.parametrize('backbone, message', [
    (dict(), 'residual'), (dict(num_blocks=0), 'not there'), (dict(combine='direct', stacked=True, num_blocks=2),
                                                              'direct, stacked')])
def test_blocks_beside_those_of_the_clip_do_not_become_one(tmp_path, backbone, message):
    config = small_config(**backbone)
    config.dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=init_model(config).state_dict()), tmp_path / 'model.pth')
    with pytest.raises(ValueError, match=f'tuned branch of .* is {message}: only that of'):
        opendlign_to_clip(str(tmp_path / 'model.pth'), str(tmp_path / 'clip.pt'), str(tmp_path / 'config.py'))
    assert not (tmp_path / 'clip.pt').exists()


def test_the_demonstration_clip_keeps_the_words_it_knows(tmp_path):
    options = {'model.backbone.combine': 'shared', 'model.alignment_head': None}
    config = str(REPOSITORY / 'configs/opendlign_tiny.py')
    model = init_model(config, cfg_options=options)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    opendlign_to_clip(str(tmp_path / 'model.pth'), str(tmp_path / 'clip.safetensors'), config, options)
    assert json.loads((tmp_path / 'clip.json').read_text()) == model.backbone.clip_config
    again = init_model(str(FOLDER / 'tiny_dlign_text_depth.py'),
                       cfg_options={'model.backbone.pretrained': str(tmp_path / 'clip.safetensors')})
    torch.testing.assert_close(again.backbone.known_token_ids, model.backbone.known_token_ids)
    torch.testing.assert_close(again.backbone.encode_text(['a chair']), model.backbone.encode_text(['a chair']))
