"""Every file in configs/ is read, and its model, data and schedule are built; large CLIPs on the meta device."""
import copy
from pathlib import Path

import open_clip
import pytest
import torch
from mmdet3d.registry import DATASETS, METRICS, MODELS, PARAM_SCHEDULERS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from helpers.tiny_clip import TINY_CLIP
from helpers.tool_modules import REPOSITORY
from opendlign_mm.datasets.procedural import CATEGORIES
from opendlign_mm.models.pixels import resolve_pixel_statistics

# Those in opendlign/ and 3detr/ are second names, see test_model_index.py.
CONFIGS = sorted(path for path in (REPOSITORY / 'configs').rglob('*.py')
                 if not {'_base_', 'generation', 'opendlign', '3detr'} & {path.parent.name, path.parent.parent.name})
BUILT_IN = [path for path in CONFIGS if path.stem in ('opendlign_tiny', 'opendlign_h14_built_in')]
RELEASED = [path for path in CONFIGS if path.stem in (
    'opendlign_b32', 'opendlign_b16', 'opendlign_l14', 'opendlign_h14')]
BENCHMARKS = [path for path in CONFIGS if path.parent.name == 'benchmarks']
CLIPS = dict(b32=('ViT-B-32', 'datacomp_xl_s13b_b90k'), b16=('ViT-B-16', 'dfn2b'),
             l14=('ViT-L-14-quickgelu', 'dfn2b'), h14=('ViT-H-14-quickgelu', 'dfn5b'))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Beside the paper's: names and tags of open_clip, and the pixel statistics that open_clip lists with them.
BESIDE = dict(
    opendlign_pe_l14=('PE-Core-L-14-336', 'meta', (.5, .5)),
    opendlign_siglip2_so400m=('ViT-SO400M-14-SigLIP2', 'webli', (.5, .5)),
    opendlign_h14_378=('ViT-H-14-378-quickgelu', 'dfn5b', (0.48145466, 0.26862954)),
    opendlign_mobileclip2_b=('MobileCLIP2-B', 'dfndr2b', (0., 1.)))
TRAINED = dict(opendlign_b32=2_362_368, opendlign_b16=2_362_368, opendlign_l14=4_198_400, opendlign_h14=6_558_720)


def backbones(node) -> list:
    """Return all configs of a CLIP backbone inside ``node``."""
    if isinstance(node, dict):
        own = [node] if node.get('type') in ('CLIPDepthBackbone', 'CLIPTwinBackbone') else []
        return own + [found for value in node.values() for found in backbones(value)]
    if isinstance(node, (list, tuple)):
        return [found for value in node for found in backbones(value)]
    return []


def load(path: Path) -> Config:
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    return config


def test_there_are_configs():
    assert len(BUILT_IN) == 2 and len(RELEASED) == 4
    stems = {path.stem for path in BENCHMARKS}
    assert {f'opendlign_{model}_{data}' for model in CLIPS for data in (
        'modelnet40', 'scanobjectnn', 'omniobject3d', 'objaverse_lvis')} <= stems
    assert all(len(path.read_text().splitlines()) <= 8 for path in BENCHMARKS)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_model_and_evaluator_build(path):
    config = load(path)
    assert path.read_text().startswith(('"""', 'r"""')), 'a config says what it is for'
    for backbone in backbones(config.model):
        image_size = copy.deepcopy(TINY_CLIP)
        backbone.update(clip='tiny', model_config=image_size, pretrained=None)
        if backbone.get('pixel_mean') == 'clip':  # which those of a random CLIP are not
            backbone.update(pixel_mean='imagenet', pixel_std='imagenet')
    if 'checkpoint' in config.model.get('proposals', {}):
        config.model.proposals.checkpoint = None
    model = MODELS.build(config.model)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0
    evaluators = config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]
    for evaluator in filter(None, evaluators):  # the first stage of TAMM has nothing to test
        assert METRICS.build(evaluator) is not None


@pytest.mark.parametrize('path', RELEASED + BENCHMARKS, ids=lambda path: path.stem)
def test_models_of_the_paper(path):
    config = load(path)
    backbone = config.model.backbone
    assert (backbone.clip, backbone.pretrained) == CLIPS[path.stem.split('_')[1]]
    assert (tuple(backbone.pixel_mean), tuple(backbone.pixel_std)) == IMAGENET
    # The classes are those of any dataset.
    assert 'class_names' not in config.model.zero_shot_head
    assert 'VocabularyFromDatasetHook' in [hook.type for hook in config.custom_hooks]


@pytest.mark.parametrize('path', BUILT_IN + RELEASED, ids=lambda path: path.stem)
def test_aligning_configs_train_as_the_paper_says(path):
    config = load(path)
    if path in BUILT_IN:  # the vocabulary is that of the dataset
        dataset = DATASETS.build(dict(config.test_dataloader.dataset, num_per_category=1, lazy_init=True))
        assert dataset.metainfo['classes'] == CATEGORIES and 'class_names' not in config.model.zero_shot_head
        assert 'VocabularyFromDatasetHook' in [hook.type for hook in config.custom_hooks]
    optimizer = config.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (.9, .98)
    assert (optimizer.eps, optimizer.weight_decay) == (1e-8, .1)
    model = torch.nn.Linear(2, 2)
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert type(optim_wrapper).__name__ == 'AutocastOptimWrapper'
    epochs, steps = config.train_cfg.max_epochs, 20
    schedule = PARAM_SCHEDULERS.build(dict(config.param_scheduler[0], end=epochs),
                                      default_args=dict(optimizer=optim_wrapper, epoch_length=steps))
    rates = []
    for _ in range(epochs * steps):
        rates.append(optim_wrapper.get_lr()['lr'][0])
        optim_wrapper.optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(3e-4, rel=1e-3) and rates[0] < 2e-5 and rates[-1] < 1e-5
    # The demonstration has few objects and takes more, smaller steps than the paper.
    assert config.train_dataloader.batch_size == (64 if path.stem == 'opendlign_tiny' else 128) and epochs == 10


@pytest.mark.parametrize('path', BUILT_IN, ids=lambda path: path.stem)
def test_pipelines_give_what_the_model_takes(path):
    config = load(path)
    size = 112 if path.stem == 'opendlign_tiny' else 224
    for name, keys in (('train_dataloader', {'depth_views', 'images'}), ('test_dataloader', {'depth_views'})):
        dataset = config[name].dataset
        dataset.update(num_per_category=1, categories=['cup'], num_points=500)
        dataset.pipeline[0].pop('cache_dir', None)
        item = DATASETS.build(dataset)[0]
        assert set(item['inputs']) == keys
        views = len(item['inputs']['depth_views'])
        assert 1 <= views <= 10 and (views == 10 or name == 'train_dataloader')
        assert item['inputs']['depth_views'].shape == (views, size, size)
        assert 'images' not in keys or item['inputs']['images'].shape == (views, 3, size, size)
        assert item['data_samples'].category == 'cup'


@pytest.mark.parametrize('name', TRAINED)
def test_large_models_train_exactly_the_attention(name):
    """On the meta device: shapes without memory."""
    config = load(REPOSITORY / f'configs/{name}.py')
    config.model.backbone.pretrained = None
    with torch.device('meta'):
        model = MODELS.build(config.model)
    trained = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in trained.values()) == TRAINED[name]
    assert all('.attn.' in key for key in trained)


@pytest.mark.parametrize('name', BESIDE)
def test_clips_beside_the_papers_have_their_own_pixels_and_prompts_that_fit(name):
    """On the meta device: shapes without memory."""
    clip, tag, (mean, std) = BESIDE[name]
    config = load(REPOSITORY / f'configs/{name}.py')
    assert (config.model.backbone.clip, config.model.backbone.pretrained) == (clip, tag)
    assert tag in open_clip.list_pretrained_tags_by_model(clip)
    config.model.backbone.pretrained = None
    with torch.device('meta'):
        model = MODELS.build(dict(config.model, views='both'))
    assert model.branches == ('pretrained', 'tuned')
    trained = [key for key, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all('tuned_blocks' in key and '.attn.' in key for key in trained)
    statistics = resolve_pixel_statistics('clip', 'clip', clip, tag, model.backbone.clip_config)
    assert (statistics[0][0], statistics[1][0]) == (mean, std)
    assert model.backbone.image_size[0] == 224 or config.model.backbone.resize, 'the released views have 224 pixels'
    if name != 'opendlign_siglip2_so400m':  # its tokenizer is on the hub; it reads 64 tokens
        # Start and end of the text are tokens, too.
        tokens = open_clip.tokenize([template.replace('{}', 'garbage bin') for head in (
            model.zero_shot_head, model.color.head) for template in head.templates])
        assert (tokens != 0).sum(1).max() <= model.backbone.clip_config['text_cfg']['context_length']
