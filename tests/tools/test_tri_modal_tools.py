"""Tools with a point encoder in the place of OpenDlign, and the conversion of what belongs to published models."""
import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import DATASETS
from mmengine.runner import save_checkpoint

from helpers.stored_shapes import noise_store
from helpers.tiny_runs import tiny_config
from helpers.tool_modules import REPOSITORY, load_tool
from helpers.tri_modal import tri_modal, tri_modal_config
from opendlign_mm.datasets.image_features import ImageFeatures
from opendlign_mm.models.stored_class_features import StoredClassFeatures
from opendlign_mm.retrieval import ShapeIndex


@pytest.fixture(params=[False, True], ids=['one embedding', 'adapters'])
def files(request, tmp_path):
    """A config of an aligner on built-in shapes and a checkpoint of other weights than it would start with."""
    config = tiny_config(tmp_path / 'work', objects_per_class=4)
    config.model = tri_modal_config(adapters=request.param)
    pipeline = [dict(type='LoadBuiltInShape'), dict(type='ArrangePoints', layout='y_up'), dict(type='PackPointInputs')]
    for name in ('train_dataloader', 'test_dataloader'):
        config[name].dataset.pipeline = pipeline
    config.dump(str(tmp_path / 'config.py'))
    model = tri_modal(adapters=request.param, seed=5)
    save_checkpoint(dict(state_dict=model.state_dict()), str(tmp_path / 'trained.pth'))
    return tmp_path / 'config.py', tmp_path / 'trained.pth', model.eval()


@pytest.fixture
def run(monkeypatch, capsys):
    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        load_tool(tool).main()
        return capsys.readouterr().out

    return run


def test_few_shot(run, files, tmp_path):
    config, checkpoint, _ = files
    run('few_shot', config, checkpoint, '--shots', 2, '--seeds', 1, '--num-workers', 0, '--out', tmp_path / 'out')
    rows = [line.split(',') for line in (tmp_path / 'out/few_shot.csv').read_text().splitlines()]
    assert [row[0] for row in rows] == ['shots', '0', '2']
    assert all(0 <= float(row[2]) <= 100 for row in rows[1:])


def test_retrieval_finds_what_the_cosines_say(run, files, tmp_path):
    config, checkpoint, model = files
    run('retrieve', 'build', config, checkpoint, '--out', tmp_path / 'index', '--num-workers', 0, '--device', 'cpu')
    printed = run('retrieve', 'query', tmp_path / 'index', '--text', 'a lamp', '--top', 3, '--device', 'cpu')
    index = ShapeIndex.load(tmp_path / 'index')
    settings = dict(type='BuiltInShapes', categories=('chair', 'table', 'bottle', 'lamp'), num_points=300, split='test',
                    num_per_category=2, pipeline=[dict(type='LoadBuiltInShape'), dict(
                        type='ArrangePoints', layout='y_up'), dict(type='PackPointInputs')])
    dataset = DATASETS.build(settings)
    batch = model.data_preprocessor(dict(inputs=[item['inputs'] for item in dataset]))['inputs']
    with torch.no_grad():
        shapes = model.embed_shapes(batch['points'], batch['colors'])
        text = F.normalize(model.text_encoder.encode_text(['a lamp']), dim=-1)
    best = (shapes @ text.T)[:, 0].topk(3).indices
    names = [dataset.get_data_info(int(row))['sample_id'] for row in best]
    heading, *found = printed.splitlines()
    assert heading.endswith('8 shapes') and [line.split()[-1] for line in found[:3]] == names
    assert len(index) == 8 and index.thumbnails.ndim == 3 and index.thumbnails.std() > 1


def test_images_are_encoded_for_dlign(run, files, tmp_path):
    config, _, model = files
    store = noise_store(tmp_path / 'store', 'abc', 4)
    run('encode_images', config, store.root, tmp_path / 'features')
    features = ImageFeatures(tmp_path / 'features')
    for shape in store.read(0):
        pixels = torch.from_numpy(shape.images()).permute(0, 3, 1, 2)[None].float() / 255
        expected = F.normalize(model.text_encoder(pixels[0])['pretrained'], dim=-1)
        found = features.of(shape.sample_id)[0]
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=2e-3)


def test_class_features_of_openshape(run, tmp_path):
    names, features = ['night stand', 'chair'], np.random.default_rng(0).normal(size=(2, 1, 8)).astype(np.float32)
    np.save(tmp_path / 'modelnet.npy', dict(zip(names, [dict(open_clip_text_feat=row) for row in features])))
    run('convert_checkpoint', 'class_features', tmp_path / 'modelnet.npy', tmp_path / 'modelnet.npz')
    stored = StoredClassFeatures(tmp_path / 'modelnet.npz')
    expected = features[[1, 0], 0] / np.linalg.norm(features[[1, 0], 0], axis=1, keepdims=True)
    np.testing.assert_allclose(stored.of(['chair', 'night_stand']).numpy(), expected, atol=1e-6)
    np.save(tmp_path / 'lvis.npy', features[:, 0])
    (tmp_path / 'lvis.json').write_text(json.dumps([dict(category=name) for name in ('cup', 'apple', 'cup')]))
    run('convert_checkpoint', 'class_features', tmp_path / 'lvis.npy', tmp_path / 'lvis.npz', '--names',
        tmp_path / 'lvis.json')
    assert StoredClassFeatures(tmp_path / 'lvis.npz').class_names == ('apple', 'cup')
    with pytest.raises(SystemExit):
        run('convert_checkpoint', 'class_features', tmp_path / 'lvis.npy', tmp_path / 'other.npz')
    assert not (tmp_path / 'other.npz').exists()


@pytest.mark.parametrize('system, config, message', [
    ('openshape', 'baselines/openshape_pointbert_g14', 'missing or of another shape'),
    ('tamm', 'baselines/openshape_pointbert_g14', 'has no adapters; give the config of tamm'),
    ('openshape', 'baselines/tamm_pointbert_g14', 'has adapters, which only TAMM has'),
    ('ulip', 'opendlign/opendlign_b32', 'is the config of a OpenDlign')])
def test_what_does_not_fit_is_refused_before_anything_is_written(run, tmp_path, capsys, system, config, message):
    torch.save(dict(state_dict={'module.proj.weight': torch.zeros(3, 3)}), tmp_path / 'released.pt')
    with pytest.raises(SystemExit):
        run('convert_checkpoint', system, tmp_path / 'released.pt', tmp_path / 'ours.pth', '--config',
            REPOSITORY / f'configs/{config}.py')
    assert message in capsys.readouterr().err and not (tmp_path / 'ours.pth').exists()


def test_objects_in_a_checkpoint_are_refused(run, tmp_path, capsys):
    class Loader:
        pass

    globals()['Loader'] = Loader
    Loader.__qualname__ = 'Loader'
    torch.save(dict(state_dict={}, args=Loader()), tmp_path / 'released.pt')
    with pytest.raises(SystemExit):
        run('convert_checkpoint', 'ulip', tmp_path / 'released.pt', tmp_path / 'ours.pth', '--config',
            REPOSITORY / 'configs/baselines/ulip_pointbert.py')
    assert 'cannot be read safely' in capsys.readouterr().err
