"""Models by name: the index, downloads from a local server in the hub's layout, and the cache without a network."""
import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.hub import get_config, get_model as get_model_of_mmengine
from open_clip import CLIP

from helpers.hub_server import serve
from helpers.tiny_clip import TINY_CLIP
from helpers.tiny_three_detr import TINY, tiny
from helpers.tool_modules import REPOSITORY
from opendlign_mm.apis import get_model, init_model, list_models, resolve_model
from opendlign_mm.apis.model_download import download_model
from opendlign_mm.apis.model_index import find_model
from opendlign_mm.detection.three_detr.released import to_released_3detr
from opendlign_mm.models.released import CONTROL_BLOCKS
from opendlign_mm.models.safetensors_files import read_meta

NAMES = ['opendlign-tiny', 'opendlign-h14', 'opendlign-l14', 'opendlign-b16', 'opendlign-b32', '3detr-m-scannet',
         '3detr-m-sunrgbd']
REPO = 'OpenDlign/OpenDlign-Models'
# Downloads the models that are named; prints for each the checkpoint or the error.
DOWNLOAD = """
import dataclasses, json, sys
from pathlib import Path
from opendlign_mm.apis.model_index import find_model
from opendlign_mm.apis.model_download import download_model, is_downloaded
for name, changes in json.loads(sys.argv[1]):
    entry = dataclasses.replace(find_model(name), **{**changes, 'config': Path(changes['config'])})
    try:
        print(json.dumps([is_downloaded(entry), str(download_model(entry, progress=False)), None]))
    except Exception as error:
        print(json.dumps([is_downloaded(entry), None, f'{type(error).__name__}: {error}']))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('OPENDLIGN_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture(scope='module')
def release(tmp_path_factory):
    """Stand-ins of the published files in the hub's layout, and the configs of their small models."""
    folder = tmp_path_factory.mktemp('hub')
    torch.manual_seed(3)
    clip = CLIP(**TINY_CLIP)
    state = {f'module.clip_model.{key}': value for key, value in clip.state_dict().items()}
    state.update({f'module.{CONTROL_BLOCKS}0.{key}': value + .1
                  for key, value in clip.visual.transformer.resblocks[-1].state_dict().items()})
    (folder / REPO).mkdir(parents=True)
    for name in ('ViT-B-32.pth', 'OpenDlign-ViT-B-16-final.pt', 'ViT-L-14-quickgelu.pth'):
        torch.save(dict(epoch=1, args=argparse.Namespace(lr=1.), model_state_dict=state), folder / REPO / name)
    (folder / 'plain').mkdir()
    detector = tiny(seed=1)
    torch.save(dict(model=to_released_3detr(detector.state_dict())), folder / 'plain/scannet.pth')
    (folder / 'plain/sunrgbd.pth').write_text('<html>moved</html>')
    common = dict(custom_imports=dict(imports=['opendlign_mm'], allow_failed_imports=False), default_scope='mmdet3d')
    backbone = dict(type='CLIPDepthBackbone', clip='tiny', model_config=TINY_CLIP, pretrained=None)
    Config(dict(common, model=dict(type='OpenDlign', backbone=backbone))).dump(str(folder / 'clip.py'))
    Config(dict(common, model=TINY)).dump(str(folder / '3detr.py'))
    return argparse.Namespace(folder=folder, clip=clip, detector=detector)


def run(models, cache, **environment):
    done = subprocess.run(
        [sys.executable, '-c', DOWNLOAD, json.dumps(models)], capture_output=True, text=True, cwd=cache.parent,
        env=dict(os.environ, PYTHONPATH=str(REPOSITORY), OPENDLIGN_CACHE=str(cache), HF_HOME=str(cache / 'hf'),
                 **environment))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('[')]


@pytest.fixture(scope='module')
def downloaded(release, tmp_path_factory):
    """What a first use of several models gives, with the requests that the server saw."""
    cache = tmp_path_factory.mktemp('first') / 'cache'
    clip = dict(config=str(release.folder / 'clip.py'))
    with serve(release.folder, announced={'ViT-L-14-quickgelu.pth': 'ab' * 32}) as (address, requests):
        detr = dict(config=str(release.folder / '3detr.py'))
        answers = run([
            ('opendlign-b32', clip), ('opendlign-b16', clip), ('opendlign-l14', clip), ('opendlign-h14', clip),
            ('3detr-m-scannet', dict(detr, url=f'{address}/plain/scannet.pth')),
            ('3detr-m-sunrgbd', dict(detr, url=f'{address}/plain/sunrgbd.pth')),
            ('opendlign-b32', clip),
            ('opendlign-b32', dict(clip, sha256='cd' * 32)),
        ], cache, HF_ENDPOINT=address)
    keys = ('b32', 'b16', 'l14', 'h14', 'scannet', 'sunrgbd', 'again', 'other')
    return argparse.Namespace(cache=cache, requests=requests, **dict(zip(keys, answers, strict=True)))


# ---------------------------------------------------------------- the index
def test_the_index_has_the_models_that_the_paper_publishes_and_the_packaged_one(cache):
    entries = {entry.name: entry for entry in list_models()}
    assert list(entries) == NAMES
    assert entries['opendlign-h14'].repo == REPO and entries['opendlign-h14'].file == 'ViT-H-14-quickgelu.pth'
    assert entries['3detr-m-scannet'].url == (
        'https://dl.fbaipublicfiles.com/3detr/checkpoints/scannet_masked_ep1080.pth')
    assert [entry.name for entry in entries.values() if entry.available][:1] == ['opendlign-tiny']
    assert all(entry.license and entry.data for entry in entries.values())


def test_results_of_the_index_are_those_of_the_papers_tables(shared_dir):
    tables = json.loads((shared_dir / 'paper/results.json').read_text())
    methods = {'opendlign-h14': 'OpenDlign', 'opendlign-l14': 'OpenDlign-L', 'opendlign-b16': 'OpenDlign-B16',
               'opendlign-b32': 'OpenDlign-B32'}
    for name, method in methods.items():
        row, = (row for row in tables['table1_zero_shot_classification']['rows'] if row['method'] == method)
        lvis, = (row for row in tables['table7_objaverse_lvis']['rows'] if row['method'] == method)
        for dataset, metrics in find_model(name).results:
            assert list(metrics.values()) == (lvis['values'] if dataset == 'Objaverse-LVIS' else row[dataset])


def test_every_metafile_names_configs_that_exist_and_is_in_the_index():
    index = yaml.safe_load((REPOSITORY / 'configs/model-index.yml').read_text())['Import']
    assert {REPOSITORY / path for path in index} == set((REPOSITORY / 'configs').glob('*/metafile.yml'))
    models = [model for path in index for model in yaml.safe_load((REPOSITORY / path).read_text())['Models']]
    assert len(models) >= 7 + 16 and len({model["Name"] for model in models}) == len(models)
    assert all((REPOSITORY / model['Config']).is_file() for model in models)


@pytest.mark.parametrize('name', NAMES)
def test_the_config_of_a_name_is_the_one_of_the_same_file_name(name):
    path = find_model(name).config
    assert path.parent.parent == REPOSITORY / 'configs' and path.stem == name.replace('-', '_')
    assert Config.fromfile(path).to_dict() == Config.fromfile(REPOSITORY / 'configs' / path.name).to_dict()


def test_names_configs_and_weights_resolve(cache, tmp_path):
    packaged = REPOSITORY / 'opendlign_mm/assets/opendlign_tiny.safetensors'
    assert resolve_model() == (REPOSITORY / 'configs/opendlign/opendlign_tiny.py', packaged)
    config = REPOSITORY / 'configs/opendlign_b16.py'
    assert resolve_model(config) == (config, None)
    assert resolve_model('opendlign_mm::opendlign_b16.py') == (config, None)
    assert resolve_model(config, 'opendlign-tiny') == (config, packaged)
    assert resolve_model('opendlign-h14', packaged) == (find_model('opendlign-h14').config, packaged)


@pytest.mark.parametrize(('arguments', 'error', 'message'), [
    (('opendlign-h41', ), ValueError, "did you mean 'opendlign-h14'"),
    (('my_config.py', ), FileNotFoundError, 'config my_config.py does not exist'),
    (('opendlign_mm::none.py', ), FileNotFoundError, 'no config none.py'),
    (('mmdet3d::x/y.py', ), ValueError, 'config of mmdet3d'),
    (('opendlign-tiny', 'none.pth'), FileNotFoundError, 'checkpoint none.pth does not exist'),
])
def test_unknown_names_and_absent_files_are_refused(cache, arguments, error, message):
    with pytest.raises(error, match=message):
        resolve_model(*arguments)


# ---------------------------------------------------------------- the packaged model
def test_the_packaged_model_is_aligned_and_refused_on_another_clip(cache, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    model = get_model('opendlign-tiny')
    block, source = model.backbone.tuned_blocks[0], model.backbone.source_blocks()[0]
    assert not torch.equal(block.attn.in_proj_weight, source.attn.in_proj_weight)
    assert torch.equal(block.mlp.c_fc.weight, source.mlp.c_fc.weight)
    config, checkpoint = resolve_model('opendlign-tiny')
    with pytest.raises(RuntimeError, match='was trained on'):
        init_model(config, checkpoint, cfg_options={'model.backbone.pretrained': None})


# ---------------------------------------------------------------- downloads
def test_a_file_of_the_hub_is_converted_with_its_weights(downloaded, release):
    available, checkpoint, error = downloaded.b32
    assert error is None and not available
    assert checkpoint == str(downloaded.cache / 'opendlign-b32.safetensors')
    model = init_model(release.folder / 'clip.py', checkpoint)
    assert torch.equal(model.backbone.clip.visual.proj, release.clip.visual.proj)
    weight = release.clip.visual.transformer.resblocks[-1].attn.in_proj_weight
    assert torch.equal(model.backbone.tuned_blocks[0].attn.in_proj_weight, weight + .1)
    digest = hashlib.sha256((release.folder / REPO / 'ViT-B-32.pth').read_bytes()).hexdigest()
    assert read_meta(checkpoint)['source_sha256'] == digest


def test_a_file_of_another_name_is_found_by_its_pattern(downloaded):
    assert downloaded.b16[2] is None
    assert f'GET /{REPO}/resolve/main/OpenDlign-ViT-B-16-final.pt' in downloaded.requests


def test_a_file_whose_hash_is_not_the_announced_one_is_refused(downloaded):
    assert 'SHA-256' in downloaded.l14[2] and 'abababab' in downloaded.l14[2]
    assert not (downloaded.cache / 'opendlign-l14.safetensors').exists()


def test_a_file_that_the_hub_does_not_have_is_told_with_the_remedy(downloaded):
    assert downloaded.h14[2].startswith('FileNotFoundError') and 'opendlign convert FILE ' in downloaded.h14[2]
    assert '\n' not in downloaded.h14[2]


def test_a_detector_comes_from_its_own_address(downloaded, release):
    assert downloaded.scannet[2] is None
    model = init_model(release.folder / '3detr.py', downloaded.scannet[1])
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in release.detector.state_dict().items())


def test_a_page_instead_of_a_checkpoint_is_refused_and_leaves_nothing(downloaded):
    assert 'damaged or not a checkpoint' in downloaded.sunrgbd[2]
    assert sorted(path.name for path in downloaded.cache.iterdir()) == [
        '3detr-m-scannet.safetensors', 'hf', 'opendlign-b16.safetensors', 'opendlign-b32.safetensors']


def test_a_second_use_reads_the_cache(downloaded):
    assert downloaded.again == [True, downloaded.b32[1], None]
    assert downloaded.requests.count(f'GET /{REPO}/resolve/main/ViT-B-32.pth') == 1


def test_a_converted_file_of_another_source_is_refused(downloaded):
    assert 'was converted from a file with SHA-256' in downloaded.other[2]


def test_offline_a_filled_cache_of_the_hub_is_enough_and_an_empty_one_is_told(downloaded, release, tmp_path):
    clip = dict(config=str(release.folder / 'clip.py'))
    (tmp_path / 'cache').mkdir()
    (tmp_path / 'cache/hf').symlink_to(downloaded.cache / 'hf')
    answers = run([('opendlign-b32', clip), ('opendlign-h14', clip), ('3detr-m-scannet', clip)], tmp_path / 'cache',
                  HF_HUB_OFFLINE='1')
    assert answers[0] == [True, str(tmp_path / 'cache/opendlign-b32.safetensors'), None]
    assert 'could not be downloaded' in answers[1][2] and 'opendlign-h14' in answers[1][2]
    assert 'HF_HUB_OFFLINE is set' in answers[2][2]


# ---------------------------------------------------------------- mmengine
@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Let mmengine find a package that has ``.mim``, as an installed one has."""
    package = tmp_path / 'opendlign_mm'
    (package / '.mim').mkdir(parents=True)
    (package / '.mim/configs').symlink_to(REPOSITORY / 'configs')
    (package / '.mim/model-index.yml').symlink_to(REPOSITORY / 'configs/model-index.yml')
    monkeypatch.setattr('mmengine.hub.hub.get_installed_path', lambda name: str(package))
    monkeypatch.setattr('mmengine.hub.hub.install_package', lambda name: None)


def test_mmengine_finds_configs_and_weights_by_name(installed):
    cfg = get_config('opendlign_mm::opendlign/opendlign_h14.py', pretrained=True)
    assert cfg.model.backbone.clip == 'ViT-H-14-quickgelu' and cfg.model_path == find_model('opendlign-h14').url
    cfg = get_config('opendlign_mm::benchmarks/opendlign_b16_modelnet40.py', pretrained=True)
    assert cfg.model.backbone.clip == 'ViT-B-16' and cfg.model_path == find_model('opendlign-b16').url


def test_mmengine_builds_a_model_with_its_weights(installed):
    model = get_model_of_mmengine('opendlign_mm::opendlign/opendlign_tiny.py', pretrained=True)
    expected = get_model('opendlign-tiny').backbone.tuned_blocks[0].attn.in_proj_weight
    assert torch.equal(model.backbone.tuned_blocks[0].attn.in_proj_weight, expected)


def test_download_of_a_missing_packaged_file_says_to_install_again(cache):
    entry = dataclasses.replace(find_model('opendlign-tiny'), file='absent.safetensors')
    with pytest.raises(FileNotFoundError, match='install the package again'):
        download_model(entry)
