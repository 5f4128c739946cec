"""Built-in shapes -> depth views -> images by a tiny diffusion model -> filter -> training, without a download."""
import json
import socket

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.tiny_generation import (
    SHAPES,
    SIZE,
    VIEWS,
    depth_store,
    diffusion_config,
    files_of,
    flux_pipeline,
    generation_config,
    sdxl_pipeline,
)
from helpers.tiny_runs import scalars, tiny_config
from helpers.tool_modules import REPOSITORY
from opendlign_mm.datasets.store import ShapeStore
from opendlign_mm.generation import image_prompts
from opendlign_mm.generation.diffusion import control_images
from opendlign_mm.generation.filter_stage import ImageFilter, KeepRule, contact_sheet, filter_store, summary
from opendlign_mm.generation.image_prompts import PromptStyle
from opendlign_mm.generation.image_stage import generate_images, image_seed

NAMES = SHAPES['categories']


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing here needs a download: each connection to another machine fails."""
    connect = socket.socket.connect

    def refuse(own, address):
        if own.family != socket.AF_UNIX:  # with which PyTorch's workers pass tensors
            pytest.fail(f'connects to {address}')
        return connect(own, address)

    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture(scope='module')
def depth(tmp_path_factory) -> ShapeStore:
    return depth_store(tmp_path_factory.mktemp('depth') / 'views')


@pytest.fixture(scope='module')
def images(depth, tmp_path_factory) -> ShapeStore:
    """Images of the six shapes, filtered."""
    out_dir = tmp_path_factory.mktemp('images') / 'store'
    config = generation_config(depth.root, out_dir)
    assert generate_images(config) == {}
    store = ShapeStore(out_dir)
    before = {shape.sample_id: shape.image_files for shard in range(3) for shape in store.read(shard)}
    filter_store(store, **config['filter'])
    after = {shape.sample_id: shape.image_files for shard in range(3) for shape in store.read(shard)}
    assert before == after, 'a filter deletes nothing'
    return store


def all_shapes(store: ShapeStore) -> list:
    return [shape for shard in range(store.num_shards) for shape in store.read(shard)]


def generator(**options):
    return MODELS.build(diffusion_config(**options))


def test_every_stage_leaves_what_it_should(depth, images):
    assert depth.num_shards == images.num_shards == 3 and images.missing() == []
    for before, shape in zip(all_shapes(depth), all_shapes(images)):
        facts = shape.metadata
        assert np.array_equal(before.depth_views(), shape.depth_views())
        assert shape.depth_views().shape == (VIEWS, SIZE, SIZE) and shape.depth_views()[:, 0, 0].min() == 255
        assert shape.images().shape == (VIEWS, SIZE, SIZE, 3) and shape.images().std() > 1
        assert facts['text'] in NAMES and facts['prompt'].startswith(f'A realistic {facts["text"]}. best quality')
        assert facts['seeds'] == [image_seed(shape.sample_id, view, 1) for view in range(VIEWS)]
        assert len(facts['scores']) == len(facts['ranks']) == VIEWS and all(1 <= rank <= 6 for rank in facts['ranks'])
        assert facts['kept'] == (facts['rank'] <= 3)
        assert facts['images_kept'] == [rank <= 3 for rank in facts['ranks']]
    rows = [row for shard in range(3) for row in images.rows(shard)]
    assert [row['sample_id'] for row in rows] == [shape.sample_id for shape in all_shapes(images)]
    assert [json.loads(row['metadata']) for row in rows] == [shape.metadata for shape in all_shapes(images)]
    kept = sum(row['kept'] for row in rows)
    assert summary(images).startswith(f'{kept} of 6 objects are kept')


def test_training_on_generated_data_lowers_the_loss(images, tmp_path):
    config = tiny_config(tmp_path, epochs=12)
    config.train_dataloader = dict(
        batch_size=3, num_workers=0, persistent_workers=False, sampler=None,
        dataset=dict(type='DepthAlignDataset', data_root=str(images.root), only_kept=False,
                     pipeline=[dict(type='PackShapeInputs')]))
    config.train_cfg = dict(type='StreamingTrainLoop', max_epochs=12)
    config.optim_wrapper.optimizer.lr = 3e-3
    config.param_scheduler = None
    config.experiment_name = str(tmp_path)
    Runner.from_cfg(config).train()
    losses = [row['loss'] for _, row in sorted(scalars(tmp_path).items())]
    assert len(losses) == 24 and np.mean(losses[-4:]) < np.mean(losses[:4]) - .05


def differ(images, others) -> int:
    """Return the largest difference of a pixel; 1 is rounding, which depends on the other images of a pass."""
    return int((images.int() - others.int()).abs().max())


def test_images_depend_on_seed_text_and_depth_only():
    """They depend neither on the batch size nor on the order nor on the other images."""
    one = generator()
    random = torch.Generator().manual_seed(0)
    views = (torch.rand(7, SIZE, SIZE, generator=random) > .5).float()
    seeds = [image_seed('a', view) for view in range(7)]
    prompts = [PromptStyle()(name) for name in ('cup', 'chair', 'cup', 'lamp', 'cup', 'chair', 'cup')]
    together = one(views, seeds, prompts)
    assert together.shape == (7, SIZE, SIZE, 3) and together.dtype == torch.uint8
    assert one.texts.encoded == 4, 'three texts and the negative one, each once'
    order = [4, 0, 6, 2, 5, 1, 3]
    shuffled = one(views[order], [seeds[i] for i in order], [prompts[i] for i in order])
    assert differ(shuffled, together[order]) <= 1
    again = generator()
    single = torch.cat([again(views[i:i + 1], seeds[i:i + 1], prompts[i:i + 1]) for i in range(7)])
    assert differ(single, together) <= 1
    assert differ(one(views[:1], [seeds[1]], prompts[:1]), together[:1]) > 20
    assert differ(one(views[:1], seeds[:1], prompts[1:2]), together[:1]) > 1
    # The last layers of a new ControlNet are zero: it has no influence before it is trained.
    for weight in one._pipeline.controlnet.parameters():
        weight.data += torch.randn(weight.shape, generator=random) * .1
    controlled = one(views[:2], [seeds[0]] * 2, [prompts[0]] * 2)
    assert differ(controlled[0], controlled[1]) > 1
    assert differ(one(views[:1], seeds[:1], prompts[:1]), controlled[:1]) <= 1


def test_the_pipeline_gets_the_papers_settings():
    config = Config.fromfile(REPOSITORY / 'configs/generation/sd15_controlnet_depth.py')
    model = MODELS.build(config.generator)
    assert model.call_options == dict(num_inference_steps=20, guidance_scale=9., controlnet_conditioning_scale=1.)
    assert (model.size, model.output_size, model.median_kernel) == (256, 224, 7)
    assert config.generator.pipeline.components.controlnet.pretrained == 'lllyasviel/control_v11f1p_sd15_depth'
    assert config.generator.pipeline.components.scheduler.type == 'DDIMScheduler'
    assert vars(PromptStyle(**config.prompt)) == vars(PromptStyle())
    assert config.filter.max_rank == 3


def test_real_configs_use_no_stand_in():
    for path in (REPOSITORY / 'configs/generation').glob('*.py'):
        kind = Config.fromfile(path).generator.type
        assert (kind == 'ShadedTextureGenerator') == (path.stem == 'built_in_stand_in'), path


@pytest.mark.parametrize('name, pipeline', [('sdxl', sdxl_pipeline), ('flux', flux_pipeline)])
def test_other_diffusion_models_are_a_change_of_the_config(name, pipeline, monkeypatch):
    """The config's own settings, on a tiny pipeline of the class that it names."""
    config = Config.fromfile(REPOSITORY / f'configs/generation/{name}_controlnet_depth.py').generator.to_dict()
    assert config['pipeline']['type'] == pipeline()['type']
    config.update(pipeline=pipeline(), size=48, output_size=SIZE, num_steps=2, pass_size=2, dtype='auto')
    one, views = MODELS.build(config), torch.ones(3, SIZE, SIZE)
    prompts = [PromptStyle()(text) for text in ('cup', 'lamp', 'cup')]
    images = one(views, [1, 2, 1], prompts)
    assert images.shape == (3, SIZE, SIZE, 3) and images.float().std() > 1
    assert differ(images[0], images[2]) <= 1 and differ(images[0], images[1]) > 1
    assert one.texts.encoded == (3 if name == 'sdxl' else 2), 'FLUX has no negative prompt'


def test_half_precision():
    half, arguments = generator(dtype='bfloat16', pass_size=1), (torch.ones(1, SIZE, SIZE), [3], [PromptStyle()('cup')])
    images = half(*arguments)
    parts = half._pipeline.unet, half._pipeline.controlnet, half._pipeline.vae, half._pipeline.text_encoder
    assert {part.dtype for part in parts} == {torch.bfloat16}
    assert images.float().std() > 1 and torch.equal(half(*arguments), images)
    assert generator().load()._pipeline.unet.dtype == torch.float32


def test_prompts_that_are_too_long_are_told_of_once(monkeypatch, caplog, capfd):
    said, short = [], generator(tokens=77)
    monkeypatch.setattr(image_prompts, 'print_log', lambda text, *_: said.append(text))
    short(torch.ones(3, SIZE, SIZE), [1, 2, 3], [PromptStyle()(text) for text in ('cup', 'lamp', 'chair')])
    assert short.texts.truncated == 4
    assert len(said) == 1 and 'is truncated' in said[0] and 'A realistic cup. best quality' in said[0]
    printed = caplog.text + ''.join(capfd.readouterr())
    assert 'truncated because' not in printed and 'Token indices' not in printed


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    config = diffusion_config()
    config['pipeline']['components']['controlnet'] = dict(type='ControlNetModel', pretrained='/nowhere/control')
    with pytest.raises(FileNotFoundError, match='/nowhere/control.*controlnet.*local folder'):
        MODELS.build(config).load()
    config['pipeline']['components']['controlnet'] = dict(type='NoSuchNet', config={})
    with pytest.raises(ValueError, match='NoSuchNet'):
        MODELS.build(config).load()


def test_components_from_a_local_folder(tmp_path):
    """A folder of weights gives the same images as the components it was saved from."""
    arguments = torch.zeros(1, SIZE, SIZE), [5], [PromptStyle()('cup')]
    made = generator().load()
    made._pipeline.save_pretrained(tmp_path / 'weights')
    local = dict(type='StableDiffusionControlNetPipeline', pretrained=str(tmp_path / 'weights'),
                 components=dict(scheduler=dict(type='DDIMScheduler'), safety_checker=None))
    assert torch.equal(generator(pipeline=local)(*arguments), made(*arguments))


def test_control_images_are_smooth_and_inverted():
    views = torch.ones(1, 32, 32)
    views[0, 8:24, 8:24] = .2
    views[0, 2, 2] = 0  # a single point
    control = control_images(views, 32, 7)
    assert control.shape == (1, 3, 32, 32)
    assert control[0, :, 16, 16].tolist() == pytest.approx([.8] * 3, abs=1e-6)
    assert control[0, :, 2, 2].abs().max() == 0 and control[0, :, 0, 0].abs().max() == 0
    assert control_images(views, 32, 1)[0, 0, 2, 2] == 1
    assert control_images(views, 48).shape == (1, 3, 48, 48)


def test_another_seed_of_the_run_gives_other_images(depth, tmp_path):
    stores = []
    for seed in (7, 8):
        config = generation_config(depth.root, tmp_path / str(seed), seed=seed, generator=dict(type='SlowStandIn'))
        assert generate_images(config) == {}
        stores.append(all_shapes(ShapeStore(tmp_path / str(seed))))
        for shape in stores[-1]:
            assert shape.metadata['seeds'] == [image_seed(shape.sample_id, view, seed) for view in range(VIEWS)]
    for one, other in zip(*stores):
        assert one.sample_id == other.sample_id and not np.array_equal(one.images(), other.images())


def test_seeds_differ():
    seeds = {image_seed(name, view, run) for name in ('a', 'b', 'a1') for view in range(12) for run in range(3)}
    assert len(seeds) == 3 * 12 * 3 and all(0 <= seed < 2**63 for seed in seeds)
    assert image_seed('a', 11) != image_seed('a1', 1)


class WordClip(torch.nn.Module):
    """Its image feature is the color, its text feature that of the word."""
    colors = dict(red=(1., 0, 0), green=(0, 1., 0), blue=(0, 0, 1.))

    def encode_text(self, texts):
        return torch.tensor([self.colors[text.split()[-1]] for text in texts])

    def forward(self, pixels, branches):
        return dict(pretrained=pixels.mean((2, 3)) + 1e-3)


def test_filter_ranks_and_keeps():
    judge = ImageFilter(WordClip(), ['red', 'green', 'blue', 'red'], 'a {}', KeepRule(1))
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[:, ..., 0], images[0, ..., 1], images[1, ..., 1] = 200, 100, 250
    verdict = judge.score(images, 'red')
    assert verdict['ranks'] == [1, 2, 1] and verdict['images_kept'] == [True, False, True]
    assert verdict['scores'][2] > verdict['scores'][0] > verdict['scores'][1]
    assert verdict['rank'] == 1 and verdict['kept']
    assert judge.score(images, 'blue')['rank'] == 3 and not judge.score(images, 'blue')['kept']
    assert judge.score(images, 'blue')['nearest_text'] == verdict['nearest_text'] == 'red'
    strict = ImageFilter(WordClip(), ['red', 'green'], 'a {}', KeepRule(None, .95))
    assert strict.score(images, 'red')['images_kept'] == [False, False, True]


def test_the_score_of_an_object_is_that_of_the_normalized_mean_of_its_normalized_images():
    """WordClip's feature is the mean color: (200, 100, 0) / 255 and (200, 250, 0) / 255, of different lengths."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[:, ..., 0], images[0, ..., 1], images[1, ..., 1] = 200, 100, 250
    features = np.array([[200, 100, 0], [200, 250, 0]]) / 255 + 1e-3
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean = units.mean(0)
    score = ImageFilter(WordClip(), ['red', 'green', 'blue'], 'a {}').score(images, 'red')
    assert score['scores'] == pytest.approx(units[:, 0], abs=2e-6)
    assert score['score'] == pytest.approx(mean[0] / np.linalg.norm(mean), abs=2e-6)
    # Neither a mean that is not normalized (0.760) nor one of features that are not (0.752) comes near.
    assert score['score'] > .77


def test_filter_again_changes_nothing_and_another_rule_does(images, tmp_path):
    import shutil
    copy = ShapeStore(shutil.copytree(images.root, tmp_path / 'copy'))
    before = files_of(copy.root)
    options = generation_config('', '')['filter']
    filter_store(copy, **options)
    assert files_of(copy.root) == before
    filter_store(copy, **dict(options, max_rank=1))
    assert files_of(copy.root) != before and copy.missing() == []
    assert all(row['kept'] == (row['rank'] == 1) for shard in range(3) for row in copy.rows(shard))
    sheet = contact_sheet(copy, tmp_path / 'sheet.png', each=2)
    assert sheet.stat().st_size > 3000


def test_layouts_hold_the_same(depth, images, tmp_path):
    """The folder layout is the release's: the dataset of the release reads it."""
    config = generation_config(depth.root, tmp_path / 'folder', layout='folder')
    generate_images(config)
    folder = ShapeStore(tmp_path / 'folder')
    filter_store(folder, **config['filter'])
    assert folder.missing() == []
    for one, other in zip(all_shapes(images), all_shapes(folder)):
        assert one.metadata == other.metadata and np.array_equal(one.images(), other.images())
        assert np.array_equal(one.depth_views(), other.depth_views())
    released = DATASETS.build(dict(
        type='DepthAlignedShapes', data_root=str(folder.root), dataset='shapes', num_views=VIEWS,
        pipeline=[dict(type='LoadDepthViews'), dict(type='LoadDepthAlignedImages')]))
    assert len(released) == 6
    stored = {shape.sample_id: shape for shape in all_shapes(images)}
    for item in (released[index] for index in range(6)):
        shape = stored[item['sample_id'].partition('/')[2]]
        assert np.array_equal(item['images'], shape.images())
        assert np.array_equal(item['depth_views'], shape.depth_views().astype(np.float32) / 255)


def test_released_depth_maps_as_source(tmp_path):
    depth = depth_store(tmp_path / 'depth', layout='folder')
    names = [row['sample_id'] for shard in range(3) for row in depth.rows(shard)]
    (tmp_path / 'texts.json').write_text(json.dumps({name: dict(text=f'my {name[:3]}') for name in names}))
    generate_images(generation_config(depth.root / 'shapes', tmp_path / 'images', shapes_per_shard=4,
                                      metadata=str(tmp_path / 'texts.json'), generator=dict(type='SlowStandIn')))
    made = all_shapes(ShapeStore(tmp_path / 'images'))
    assert sorted(shape.sample_id for shape in made) == sorted(names)
    assert all(shape.metadata['text'] == f'my {shape.sample_id[:3]}' for shape in made)


def test_workers_of_the_depth_stage_change_nothing(depth, tmp_path):
    several = depth_store(tmp_path / 'several', num_workers=2)
    assert files_of(several.root) == files_of(depth.root)
