"""Retrieval from end to end: building from a dataset and from a folder, queries by text, image and both."""
import json
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import DATASETS
from mmengine.runner import save_checkpoint
from PIL import Image

from helpers.tiny_runs import tiny_config, tiny_model
from helpers.tool_modules import load_tool
from opendlign_mm.apis import init_model
from opendlign_mm.apis.extract_features import feature_batches
from opendlign_mm.models.contrastive_head import object_features
from opendlign_mm.retrieval import ShapeIndex, build_index, embed_query, model_of_index, write_index
from opendlign_mm.retrieval.index_files import building_index
from opendlign_mm.retrieval.query import read_image
from opendlign_mm.visualization.sheets import draw_gallery

# the package has a function of that name
build_index_module = import_module('opendlign_mm.retrieval.build_index')


@pytest.fixture
def config(tmp_path):
    tiny_config(tmp_path / 'work').dump(str(tmp_path / 'config.py'))
    return tmp_path / 'config.py'


@pytest.fixture
def checkpoint(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.backbone.tuned_blocks.parameters():
            if parameter.requires_grad:
                parameter += .05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    save_checkpoint(dict(state_dict=model.state_dict()), str(tmp_path / 'trained.pth'))
    return tmp_path / 'trained.pth'


@pytest.fixture
def image_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'f.png')
    return tmp_path / 'f.png'


@pytest.fixture
def run(monkeypatch, capsys):
    module = load_tool('retrieve')

    def run(*arguments):
        workers = ('--num-workers', 0) if arguments[0] == 'build' else ()
        monkeypatch.setattr(sys, 'argv', ['retrieve.py', *map(str, (*arguments, *workers, '--device', 'cpu'))])
        module.main()
        return capsys.readouterr().out

    def fails(*arguments):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 2
        return capsys.readouterr().err

    run.fails, run.module = fails, module
    return run


def test_build_embeds_as_the_model_does(config, checkpoint):
    model = init_model(str(config), str(checkpoint))
    dataset = DATASETS.build(model.cfg.test_dataloader.dataset)
    index = build_index(model, dataset, str(checkpoint), thumbnail_size=16, batch_size=3)
    views = torch.stack([dataset[row]['inputs']['depth_views'] for row in range(8)])
    features = {name: values.detach() for name, values in model.encode_views(views, ('pretrained', 'tuned')).items()}
    expected = object_features(torch.cat([features['pretrained'][:, :1], features['tuned'][:, 1:]], dim=1))
    cosines, rows = index.search(expected.numpy(), 1)
    assert rows[:, 0].tolist() == list(range(8)) and np.allclose(cosines, 1, atol=1e-5)
    assert index.thumbnails.shape == (8, 16, 16) and index.thumbnails.dtype == np.uint8
    small = F.interpolate(views[:, 1:], (16, 16), mode='bilinear', antialias=True, align_corners=False)[:, 0]
    assert np.abs(index.thumbnails / 255. - small.numpy()).max() < 1 / 255
    assert index.shapes[3] == dict(sample_id=dataset.get_data_info(3)['sample_id'], category='lamp')
    assert index.about['checkpoint'] == str(checkpoint) and index.about['branches'] == 'both'
    assert index.about['clip']['sha256'] == model.backbone.clip_identity().sha256


def test_index_written_in_shards_is_that_of_memory(config, checkpoint, tmp_path):
    model = init_model(str(config), str(checkpoint))
    settings = model.cfg.test_dataloader.dataset
    result = write_index(model, settings, tmp_path / 'shards', str(checkpoint), thumbnail_size=16, batch_size=3,
                         shard_size=3)
    assert (result.num_inputs, result.failed) == (8, [])
    assert [path.name for path in tmp_path.iterdir() if 'shards' in path.name] == ['shards'], 'no embeddings left'
    build_index(model, settings, str(checkpoint), thumbnail_size=16, batch_size=3).save(tmp_path / 'memory')
    for path in (tmp_path / 'memory').iterdir():
        assert path.read_bytes() == (tmp_path / 'shards' / path.name).read_bytes(), path.name


def test_stopped_indexing_goes_on_unless_something_has_changed(config, tmp_path, monkeypatch):
    model, calls = init_model(str(config)), []
    settings = model.cfg.test_dataloader.dataset

    def embed(model, dataset, indices, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(indices)
        return feature_batches(model, dataset, indices, **options)

    monkeypatch.setattr(build_index_module, 'feature_batches', embed)
    with pytest.raises(KeyboardInterrupt):
        write_index(model, settings, tmp_path / 'index', shard_size=3)
    assert calls == [[0, 1, 2], [3, 4, 5]] and not (tmp_path / 'index').exists()
    calls[:] = [None]
    write_index(model, settings, tmp_path / 'index', shard_size=3)
    assert calls == [None, [6, 7]]
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        write_index(model, settings, tmp_path / 'index', shard_size=3)
    with torch.no_grad():
        next(value for value in model.backbone.tuned_blocks.parameters() if value.requires_grad).add_(1)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        write_index(model, settings, tmp_path / 'index', shard_size=3)
    assert calls == [[0, 1, 2], [3, 4, 5]], 'embeddings of other weights are made again'


def test_queries(image_file):
    model = tiny_model().eval()
    text, image = embed_query(model, 'chair'), embed_query(model, image=image_file)
    with torch.no_grad():
        np.testing.assert_allclose(text, F.normalize(model.backbone.encode_text(['chair']), dim=-1), atol=1e-6)
        pixels = read_image(image_file, (32, 32))[None, None]
        np.testing.assert_allclose(image, model.encode_views(pixels, 'pretrained')[0], atol=1e-6)
    both = embed_query(model, 'chair', Image.open(image_file))
    mean = (text + image) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean), atol=1e-6)
    prompted = embed_query(model, 'chair', templates=['a {}', 'the {}'])
    with torch.no_grad():
        expected = F.normalize(model.backbone.encode_text(['a chair', 'the chair']), dim=-1).mean(0, keepdim=True)
    np.testing.assert_allclose(prompted, F.normalize(expected, dim=-1), atol=1e-6)
    for options, message in ((dict(), 'needs a text, an image or both'),
                             (dict(text=' '), 'text of the query is empty')):
        with pytest.raises(ValueError, match=message):
            embed_query(model, **options)


def test_images_are_cropped_in_the_middle_and_stand_on_white(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (255, 0, 0)
    wide[:, :20] = (0, 255, 0)
    pixels = read_image(Image.fromarray(wide), (40, 40))
    assert pixels.shape == (3, 40, 40) and pixels.dtype == torch.float32
    # the middle third fills the image; cubic resizing rounds its borders
    torch.testing.assert_close(pixels[:, :, 4:-4], torch.tensor([1., 0, 0])[:, None, None].expand(3, 40, 32))
    clear = np.zeros((8, 8, 4), np.uint8)
    assert (read_image(Image.fromarray(clear), (8, 8)) == 1).all()
    assert read_image(Image.new('L', (7, 9), 128), (16, 8)).shape == (3, 16, 8)
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\nrubbish')
    with pytest.raises(ValueError, match='broken.png cannot be read as an image'):
        read_image(tmp_path / 'broken.png', (8, 8))
    with pytest.raises(FileNotFoundError, match='image .*absent.png does not exist'):
        read_image(tmp_path / 'absent.png', (8, 8))


def test_tool_on_the_test_set(run, config, checkpoint, image_file, tmp_path):
    assert '8 shapes in' in run('build', config, checkpoint, '--out', tmp_path / 'index')
    index = ShapeIndex.load(tmp_path / 'index')
    model = model_of_index(index)
    for name, options in (('text', dict(text='a lamp')), ('image', dict(image=image_file)),
                          ('both', dict(text='a lamp', image=image_file))):
        arguments = [part for key, value in options.items() for part in (f'--{key}', value)]
        printed = run('query', tmp_path / 'index', *arguments, '--top', '3', '--save', tmp_path / f'{name}.png')
        assert printed.splitlines()[0] == 'exact search among 8 shapes'
        lines = [line.split() for line in printed.splitlines() if '-test-' in line]
        cosines, rows = index.search(embed_query(model, **options), 3)
        assert [line[-1] for line in lines] == [index.shapes[row]['sample_id'] for row in rows[0]]
        assert [line[1] for line in lines] == [f'{cosine:.3f}' for cosine in cosines[0]]
        assert Image.open(tmp_path / f'{name}.png').size[0] > 500
    assert run.fails('query', tmp_path / 'index').strip().splitlines()[0] == 'error: give --text, --image or both'
    assert 'replace it with --overwrite' in run.fails('build', config, '--out', tmp_path / 'index')
    run('build', config, checkpoint, '--out', tmp_path / 'index', '--overwrite')
    assert 'is not an index of shapes' in run.fails('query', tmp_path, '--text', 'lamp')


def test_tool_on_a_folder_with_a_broken_file(run, config, tmp_path):
    generator = np.random.default_rng(0)
    for name in ('lamp/a', 'lamp/b', 'chair/c'):
        (tmp_path / 'shapes' / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / 'shapes' / f'{name}.npy', generator.normal(size=(500, 3)))
    whole = (tmp_path / 'shapes/lamp/b.npy').read_bytes()
    (tmp_path / 'shapes/lamp/b.npy').write_bytes(whole[:len(whole) // 2])
    printed = run('build', config, '--data', tmp_path / 'shapes', '--out', tmp_path / 'index')
    assert 'left out: 1\n' in printed and 'b.npy' in printed and '2 shapes in' in printed
    shapes = [json.loads(line) for line in (tmp_path / 'index/shapes.jsonl').read_text().splitlines()]
    assert [(shape['category'], shape['points_path']) for shape in shapes] == [
        ('chair', str(tmp_path / 'shapes/chair/c.npy')), ('lamp', str(tmp_path / 'shapes/lamp/a.npy'))]
    for path in (tmp_path / 'shapes').rglob('*.npy'):
        path.write_bytes(b'')
    assert 'none of the 3 shapes can be read' in run.fails('build', config, '--data', tmp_path / 'shapes',
                                                           '--out', tmp_path / 'none')
    assert not (tmp_path / 'none').exists() and not list(tmp_path.glob('.*'))


def test_an_index_of_another_clip_is_refused(config, checkpoint, run, tmp_path):
    run('build', config, checkpoint, '--out', tmp_path / 'index')
    checkpoint.unlink()  # queries need the CLIP alone
    run('query', tmp_path / 'index', '--text', 'lamp')
    config = json.loads((tmp_path / 'index/config.json').read_text())
    assert config['model']['backbone']['clip'] == 'tiny' and set(config) <= {'default_scope', 'model'}
    config['model']['backbone']['random_seed'] = 5
    (tmp_path / 'index/config.json').write_text(json.dumps(config))
    assert 'the index was made with' in run.fails('query', tmp_path / 'index', '--text', 'lamp')


@pytest.fixture
def index(config, run, tmp_path):
    run('build', config, '--out', tmp_path / 'index')
    return tmp_path / 'index'


def test_an_index_is_never_run_as_code(index, run, tmp_path):
    canary = tmp_path / 'canary'
    (index / 'config.py').write_text(f'__import__("pathlib").Path({str(canary)!r}).touch()\nmodel = dict()\n')
    assert '-test-' in run('query', index, '--text', 'lamp')
    config = json.loads((index / 'config.json').read_text())
    config['model'] = dict(type='pathlib.Path.touch', self=str(canary))
    (index / 'config.json').write_text(json.dumps(config))
    assert "'pathlib.Path.touch', which is not a registered component" in run.fails('query', index, '--text', 'lamp')
    config['model'] = dict(type='OpenDlign', backbone=[dict(type='antigravity')])
    (index / 'config.json').write_text(json.dumps(config))
    assert "'antigravity', which is not a registered component" in run.fails('query', index, '--text', 'lamp')
    (index / 'config.json').unlink()  # as an earlier version wrote it
    assert 'index of an earlier version, which would run config.py as code; build the index again' in run.fails(
        'query', index, '--text', 'lamp')
    assert not canary.exists()


def test_an_index_that_does_not_tell_its_clip_is_refused(index, run):
    about = json.loads((index / 'index.json').read_text())
    del about['clip']['sha256']
    (index / 'index.json').write_text(json.dumps(about))
    assert 'the index does not tell which CLIP made it' in run.fails('query', index, '--text', 'lamp')


@pytest.mark.parametrize('content, problem', [('file', 'is a file'), ('flat', 'has no sub-folders'),
                                              ('absent', 'does not exist')])
def test_a_folder_without_classes_is_refused_before_a_model_is_built(config, run, tmp_path, monkeypatch, content,
                                                                     problem):
    (tmp_path / 'flat/.hidden').mkdir(parents=True)
    for path in (tmp_path / 'file', tmp_path / 'flat/a.npy'):
        np.save(path.open('wb'), np.zeros((10, 3)))
    monkeypatch.setattr(run.module, 'init_model', lambda *_: pytest.fail('a model was built'))
    message = run.fails('build', config, '--data', tmp_path / content, '--out', tmp_path / 'index')
    assert f'{tmp_path / content} {problem}' in message and '--cfg-options' not in message


def test_two_builds_in_one_folder_are_refused(config, run, tmp_path):
    with building_index(tmp_path / 'index'):
        message = run.fails('build', config, '--out', tmp_path / 'index')
        assert f'another process builds an index in {tmp_path / "index"}' in message
    run('build', config, '--out', tmp_path / 'index')
    assert not list(tmp_path.glob('.index*')), 'no lock file is left'


def test_gallery_shows_each_shape_in_its_place(tmp_path):
    thumbnails = np.full((7, 20, 20), 255, np.uint8)
    plain = np.asarray(Image.open(draw_gallery(thumbnails, list('abcdefg'), tmp_path / 'a.png', 'words')).convert('L'))
    thumbnails[6, 5:15, 5:15] = 0
    dark = np.asarray(Image.open(draw_gallery(thumbnails, list('abcdefg'), tmp_path / 'b.png', 'words')).convert('L'))
    changed = np.argwhere(np.abs(plain.astype(int) - dark) > 100)
    height, width = plain.shape
    assert len(changed) > 1000
    # The seventh is the second of the second row; the query has the left fifth.
    row, column = changed.mean(axis=0)
    assert row > height / 2 and width * .3 < column < width * .5
    with pytest.raises(ValueError, match='as many titles as images'):
        draw_gallery(thumbnails, ['one'], tmp_path / 'c.png')
    image_file = np.zeros((10, 10, 3), np.uint8)
    with_image = draw_gallery(thumbnails[:2], ['a', 'b'], tmp_path / 'd.png', 'a long text ' * 5, image_file)
    left = np.asarray(Image.open(with_image).convert('L'))[:, :Image.open(with_image).size[0] // 4]
    assert (left < 20).mean() > .2
