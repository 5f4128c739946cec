"""The paper's benchmarks and training set from end to end: published layouts in, one command, figures out."""
import json

import pytest
from mmengine.config import Config

from helpers import shape_fixtures as fixtures
from helpers.small_tools import SmallTools
from helpers.tiny_clip import TINY_CLIP
from helpers.tiny_runs import scalars
from helpers.tool_modules import REPOSITORY
from opendlign_mm.command_line.required_inputs import require_inputs

CONFIGS = REPOSITORY / 'configs'
# Type, class names as the dataset has them, number of objects, and what writes it.
DATA = dict(
    modelnet40=('ReleasedDepthMaps', ['airplane', 'night_stand'], 2,
                lambda root: fixtures.write_released_depth_maps(root)),
    scanobjectnn=('ReleasedDepthMaps', ['bin', 'shelf', 'sofa'], 3,
                  lambda root: fixtures.write_released_depth_maps(
                      root, 'scanobjectnn', names=['3+sofa', '1+bin', '2+shelf'], dtype='float32')),
    omniobject3d=('ReleasedDepthMaps', ['anise', 'toy_bus'], 2,
                  lambda root: fixtures.write_released_depth_maps(
                      root, 'OmniObject3D', names=['toy_bus_001+toy_bus', 'anise_001+anise'])),
    objaverse_lvis=('ObjaverseLVIS', ['Band_Aid', 'apple', 'salmon_(fish)'], 3, fixtures.write_objaverse_lvis),
    modelnet40_points=('ModelNet40Resampled', list(fixtures.SHAPE_NAMES), 4, fixtures.write_modelnet40_resampled),
    omniobject3d_points=('OmniObject3D', ['anise', 'toy_animals'], 3, fixtures.write_omniobject3d),
    shape_folder=('ShapeFolder', list(fixtures.SHAPE_NAMES), 8, fixtures.write_modelnet40_meshes))


class BenchmarkTools(SmallTools):
    """The tools on a random CLIP for 32 x 32 pixels and with the fixtures' folder as ``data_root``."""

    def __init__(self, monkeypatch, folder) -> None:
        super().__init__(monkeypatch, folder)
        clip = folder / 'clip.json'
        clip.write_text(json.dumps(TINY_CLIP))
        self.options = {**self.model_options, 'model.backbone.model_config': str(clip),
                        'model.zero_shot_head.templates': '["a {}"]', 'data_root': str(folder / 'data'),
                        'model.zero_shot_head.text_cache_dir': str(folder / 'text'),
                        'test_dataloader.batch_size': 2, 'test_dataloader.num_workers': 0}


@pytest.fixture
def tools(monkeypatch, tmp_path) -> BenchmarkTools:
    return BenchmarkTools(monkeypatch, tmp_path)


@pytest.mark.parametrize('name', DATA)
def test_one_command_for_each_benchmark(tools, name, capfd):
    kind, classes, objects, write = DATA[name]
    write(tools.folder / 'data')
    model = 'h14' if name.endswith(('points', 'folder')) else 'b32'
    config = CONFIGS / f'benchmarks/opendlign_{model}_{name}.py'
    options = []
    if kind != 'ReleasedDepthMaps':
        options = ['test_dataloader.dataset.pipeline.0.transforms.1.projection.resolution=32',
                   f'test_dataloader.dataset.pipeline.0.cache_dir={tools.cache_dir}']
    tools.run('test', str(config), '--work-dir', str(tools.folder / 'run'), options=options)
    log = ''.join(capfd.readouterr())
    # Only with the dataset's own classes as its vocabulary does the model score as many classes as there are labels.
    assert all(f'| {category} ' in log for category in classes), log[-2000:]
    results = json.loads(next((tools.folder / 'run').rglob('results.json')).read_text())
    expected = dict(modelnet40='ModelNet40', scanobjectnn='ScanObjectNN', omniobject3d='OmniObject3D',
                    objaverse='Objaverse-LVIS', shape='data')[name.split('_')[0]]
    assert results['benchmark'] == expected
    assert results['metrics']['zero_shot/num_samples'] == objects
    assert len(list(tools.cache_dir.rglob('*.npz'))) == (objects if options else 0)


def test_training_on_the_released_set(tools):
    fixtures.write_released_training_set(tools.folder / 'data', names=[f'model{index}' for index in range(5)])
    fixtures.write_released_depth_maps(tools.folder / 'data')
    work_dir = tools.folder / 'run'
    options = ['train_cfg.max_epochs=2', 'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
               'default_hooks.logger.interval=1']
    tools.run('train', str(CONFIGS / 'opendlign_b32.py'), '--work-dir', str(work_dir), options=options)
    losses = scalars(work_dir)
    assert sorted(losses) == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert all(row['loss'] > 0 for row in losses.values())
    tools.run('test', str(CONFIGS / 'opendlign_b32.py'), str(work_dir / 'epoch_2.pth'), '--work-dir', str(work_dir))
    results = max(work_dir.rglob('results.json'), key=lambda path: path.stat().st_mtime_ns)
    assert json.loads(results.read_text())['metrics']['zero_shot/num_samples'] == 2


@pytest.mark.parametrize('tool, config, words', [
    ('train', 'opendlign_h14.py', ['shapenet/depth_map', 'depth_align_img', "'dfn5b'"]),
    ('train', 'opendlign_b32.py', ['shapenet/depth_map', "'datacomp_xl_s13b_b90k'"]),
    ('test', 'benchmarks/opendlign_l14_omniobject3d.py', ['OmniObject3D/depth_map', "'dfn2b'"]),
    ('test', 'benchmarks/opendlign_b16_objaverse_lvis.py', ['OpenShape', 'meta_data.zip']),
])
def test_without_data_and_weights_there_is_one_message(tools, monkeypatch, capfd, tool, config, words):
    """Before any model is built the message names the folder, how to get the data, and the weights."""
    monkeypatch.chdir(tools.folder)
    monkeypatch.setattr('opendlign_mm.command_line.required_inputs._in_hub_cache', lambda hub: False)
    tools.options = {'data_root': 'elsewhere'}
    with pytest.raises(SystemExit) as stop:
        tools.run(tool, str(CONFIGS / config))
    errors = capfd.readouterr().err
    assert stop.value.code == 2 and 'Traceback' not in errors
    for word in ('elsewhere does not exist', str(tools.folder), 'data_root=DIR', 'model.backbone.pretrained=FILE',
                 *words):
        assert word in errors, errors
    assert not list(tools.folder.rglob('*.log'))


def test_required_inputs_of_wrapped_and_foreign_datasets(tmp_path):
    missing = dict(type='ShapeFolder', data_root=str(tmp_path / 'none'))
    with pytest.raises(FileNotFoundError, match='none does not exist'):
        require_inputs(Config(dict(train_dataloader=dict(
            dataset=dict(type='RepeatDataset', times=2, dataset=missing)))), 'train_dataloader')
    concatenated = dict(type='ConcatDataset', datasets=[dict(type='BuiltInShapes'), missing])
    with pytest.raises(FileNotFoundError, match='none does not exist'):
        require_inputs(Config(dict(test_dataloader=dict(dataset=concatenated))), 'test_dataloader')
    # Nothing to say about other datasets and about loaders that are not there.
    require_inputs(Config(dict(test_dataloader=dict(dataset=dict(type='BuiltInShapes')), val_dataloader=None)),
                   'train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('fault', ['truncated', 'NaN', 'missing'])
def test_a_broken_file_is_one_message(tools, capfd, workers, fault):
    """Also from a data worker: which file, and what to do."""
    fixtures.write_modelnet40_resampled(tools.folder / 'data')
    path = tools.folder / 'data/night_stand/night_stand_0627.txt'
    lines = path.read_text().splitlines()
    if fault == 'truncated':
        path.write_text('\n'.join(lines[:20])[:-30])
    elif fault == 'NaN':
        path.write_text('\n'.join(['nan,0.1,0.2,0,0,1', *lines]))
    else:
        path.unlink()
    with pytest.raises(SystemExit) as stop:
        tools.run('test', str(CONFIGS / 'benchmarks/opendlign_h14_modelnet40_points.py'), '--work-dir',
                  str(tools.folder / 'run'), options=[f'test_dataloader.num_workers={workers}'])
    errors = capfd.readouterr().err
    message = errors[errors.index('\nerror: '):]
    assert stop.value.code == 2 and 'Traceback' not in errors and message.count('\n') <= 4
    assert str(path) in message
    assert {'truncated': 'cannot be read', 'NaN': '1 of 61 points', 'missing': '1 of 4 objects'}[fault] in message
    assert not list(tools.folder.rglob('results.json'))


@pytest.mark.parametrize('workers', [0, 1])
def test_broken_files_among_thousands_are_skipped_and_listed(tools, capfd, workers):
    fixtures.write_modelnet40_meshes(tools.folder / 'data')
    broken = [tools.folder / f'data/{name}.off' for name in ('airplane/test/airplane_0627', 'xbox/train/xbox_0001')]
    for path in broken:
        path.write_text(path.read_text()[:-20])
    options = ['test_dataloader.dataset.pipeline.0.transforms.1.projection.resolution=32',
               f'test_dataloader.num_workers={workers}', 'test_dataloader.batch_size=1']
    config = str(CONFIGS / 'benchmarks/opendlign_h14_shape_folder.py')
    tools.run('test', config, '--work-dir', str(tools.folder / 'run'), options=options)
    log = ''.join(capfd.readouterr())
    assert '2 of 8 samples could not be read' in log and all(str(path) in log for path in broken)
    results = json.loads(next((tools.folder / 'run').rglob('results.json')).read_text())
    assert results['metrics']['zero_shot/num_samples'] == 6
    assert results['metrics']['zero_shot/unreadable'] == 2
    for path in (tools.folder / 'data').rglob('*.off'):
        path.write_text('OFF')
    with pytest.raises(SystemExit):
        tools.run('test', config, '--work-dir', str(tools.folder / 'none'), options=options)
    errors = capfd.readouterr().err
    assert 'none of the 8 samples can be read' in errors and 'airplane_0627.off' in errors
    assert not list((tools.folder / 'none').rglob('results.json'))
