"""Configs of ULIP, OpenShape and TAMM: their sizes, their data in published layouts, a run on built-in shapes."""
import copy
import json

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from helpers import shape_fixtures as fixtures
from helpers.tiny_clip import TINY_BACKBONE, tiny_clip
from helpers.tool_modules import REPOSITORY
from helpers.tri_modal import tri_modal_config
from opendlign_mm.datasets import NeighborGroups, collate_groups, collate_shapes
from opendlign_mm.datasets.image_features import ImageFeatures
from opendlign_mm.models.stored_class_features import StoredClassFeatures

CONFIGS = sorted(path for pattern in ('ulip', 'openshape', 'tamm')
                 for path in (REPOSITORY / 'configs/baselines').rglob(f'{pattern}_*.py'))
TRAINED = [path for path in CONFIGS if 'l14' not in path.stem and 'image_adapter' not in path.stem]
D = 16


def load(path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    return config


def write_triplets(root) -> list[dict]:
    """Three objects in OpenShape's layout; the one of Objaverse has lost its own text, that of ABO has none at all."""
    random, entries = np.random.default_rng(0), []
    for name, source, texts in (('uid0', 'Objaverse', ['dragon', 'lizard']),
                                ('02691156-abc', 'ShapeNet', ['airplane']), ('B01', 'ABO', [])):
        def feature(value):
            return dict(original=np.full((1, D), value, np.float32), prompt_avg=np.full((1, D), value + .5, np.float32))

        entry = dict(
            dataset=source, group='g', id=name, xyz=fixtures.cloud(name, 200), rgb=random.random((200, 3)),
            image_feat=random.random((12, D)).astype(np.float32), thumbnail_feat=np.full((1, D), 9, np.float32),
            text=texts, text_feat=[feature(index + 1) for index in range(len(texts))],
            blip_caption='', msft_caption='', retrieval_text=texts[:1],
            retrieval_text_feat=[feature(5)] * len(texts[:1]))
        path = root / source / f'{name}.npy'
        path.parent.mkdir(parents=True)
        np.save(path, entry, allow_pickle=True)
        entries.append(dict(dataset=source, group='g', id=name, data_path=f'/mnt/data/final/{source}/{name}.npy'))
    for path, content in (('meta_data/split/train_all.json', entries),
                          ('meta_data/gpt4_filtering.json', dict(uid0=dict(flag='N')))):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(content))
    return entries


def triplets(root, **options):
    init_default_scope('mmdet3d')
    return DATASETS.build(dict(type='OpenShapeTriplets', data_root=str(root), **options))


def shrunk(config):
    """Make the model of a config small, with embeddings of D entries; everything else stays."""
    model = config.model
    encoder, has_adapters = model.point_encoder, model.get('adapters') is not None
    if encoder.type == 'PointBERT':
        encoder.update(embed_dims=24, depth=1, num_heads=2, num_groups=16, group_size=8, out_channels=D)
    elif encoder.type == 'PointPatchTransformer':
        encoder.update(sizes=dict(embed_dims=64, depth=1, num_patches=16, patch_size=8, mlp_channels=64),
                       out_channels=None if has_adapters else D)
    else:
        encoder.update(voxel_size=.1, stage_channels=(4, 4), stage_blocks=(1, 1), joint_channels=(8, 8), engine='torch',
                       head_channels=(D, ) if has_adapters else (8, ), out_channels=None if has_adapters else D)
    for adapter in (model.adapters or {}).values() if has_adapters else ():
        adapter.update(in_channels=64 if encoder.type == 'PointPatchTransformer' else D, hidden_channels=8,
                       out_channels=D)
    if model.get('image_adapter'):
        model.image_adapter.update(channels=D, init_cfg=None)
    if model.get('text_encoder'):
        model.text_encoder = dict(TINY_BACKBONE, model_config=tiny_clip(embed_dim=D), num_blocks=0, resize=True)
    return config


@pytest.mark.parametrize('name', ['openshape_pointbert_g14', 'openshape_sparseconv_g14', 'tamm_pointbert_g14',
                                  'tamm_sparseconv_g14', 'ulip_pointbert'])
def test_small_variants_train_and_predict_by_their_own_pipelines(tmp_path, name):
    config = shrunk(load(REPOSITORY / f'configs/baselines/{name}.py'))
    if name == 'ulip_pointbert':
        fixtures.write_shapenet55_renderings(tmp_path, fixtures.write_shapenet55(tmp_path))
        for part in config.train_dataloader.dataset.datasets:
            part.data_root = str(tmp_path)
        fixtures.write_modelnet40_resampled(tmp_path / 'modelnet')
        config.test_dataloader.dataset.data_root = str(tmp_path / 'modelnet')
    else:
        write_triplets(tmp_path)
        config.train_dataloader.dataset.update(data_root=str(tmp_path), ann_file='meta_data/split/train_all.json')
        fixtures.write_openshape_modelnet40(tmp_path)
        config.test_dataloader.dataset.data_root = str(tmp_path)
        config.model.class_features = str(tmp_path / 'classes.npz')
        StoredClassFeatures.write(config.model.class_features, ['airplane', 'night stand'], np.eye(2, D))
    np.random.seed(0)
    torch.manual_seed(0)
    model, sets = MODELS.build(config.model), {}
    for part in ('train', 'test'):
        sets[part] = DATASETS.build(config[f'{part}_dataloader'].dataset)
    batch = model.data_preprocessor(collate_shapes([item for item in sets['train']] * 2))
    # Small networks with batch norm over few voxels have steep losses: steps have to be short.
    rate = 1e-4 if name == 'openshape_sparseconv_g14' else 1e-3
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=rate), []
    for _ in range(3):
        torch.manual_seed(0)  # of dropout
        loss = model.parse_losses(model(**batch, mode='loss'))[0]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[1] < losses[0]
    model.eval().set_vocabulary(sets['test'].metainfo['classes'])
    samples = model(**model.data_preprocessor(collate_shapes(list(sets['test']))), mode='predict')
    assert all(np.isfinite(sample.pred_scores.numpy()).all() for sample in samples) and len(samples) >= 3


def test_the_poster_has_its_rows():
    stems = {str(path.relative_to(REPOSITORY / 'configs/baselines')) for path in CONFIGS}
    for system in ('openshape_pointbert_g14', 'openshape_sparseconv_g14', 'tamm_pointbert_g14'):
        for ending in ('.py', '_dlign.py'):
            assert {f'{system}{ending}', f'ensemble/{system}{ending}'} <= stems
    assert {'ulip_pointbert.py', 'openshape_pointbert_l14.py', 'tamm_sparseconv_g14.py',
            'ensemble/tamm_sparseconv_g14.py'} <= stems


@pytest.mark.parametrize('path', [path for path in CONFIGS if '_tiny' not in path.stem],
                         ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_sizes_are_the_published_ones(path):
    config = load(path)
    config.model.text_encoder = None
    if 'image_adapter' in path.stem:
        config.model.pop('text_encoder')
    with torch.device('meta'):
        model = MODELS.build(config.model)
    parameters = sum(value.numel() for value in model.parameters()) / 1e6
    expected = next(count for name, count in (
        ('ulip', 22.25), ('openshape_pointbert_g14', 32.33), ('openshape_pointbert_l14', 0),
        ('openshape_sparse', 41.33), ('tamm_image', .82), ('tamm_', 0)) if path.stem.startswith(name))
    assert expected == 0 or parameters == pytest.approx(expected, abs=.006)
    if path in TRAINED:
        dataset = config.train_dataloader.dataset
        dataset = dataset.get('dataset', dataset)  # that of groups of hard negatives
        ensemble = path.parent.name == 'ensemble' or path.stem.endswith('hard_negatives')
        aligned = path.stem.endswith('dlign')
        if not path.stem.startswith('ulip'):
            assert ('train_all' in dataset.ann_file) == ensemble
            assert (dataset.aligned_features is not None) == aligned
            images = next(step for step in dataset.pipeline if step.type == 'LoadOpenShapeObject').num_images
            assert images == (4 if path.stem.startswith('tamm') else 1)
            assert (model.image_adapter is not None) == (images == 4)


def test_openshape_objects_and_their_texts(tmp_path):
    write_triplets(tmp_path)
    pipeline = [dict(type='LoadOpenShapeObject'), dict(type='ArrangePoints'), dict(type='PackPointInputs')]
    dataset = triplets(tmp_path, pipeline=pipeline)
    seen = {name: (set(), set()) for name in ('Objaverse/uid0', 'ShapeNet/02691156-abc', 'ABO/B01')}
    np.random.seed(0)
    for _ in range(20):
        for item in dataset:
            inputs, texts = item['inputs'], seen[item['data_samples'].sample_id]
            texts[0].add(float(inputs['text_features'][0]) if inputs['has_text'] else None)
            texts[1].add(bool((inputs['image_features'] == 9).all()))
            assert inputs['image_features'].shape == (1, D) and inputs['text_features'].shape == (D, )
    # Own texts are averages over templates, retrieved texts are not; the filter has taken the text of Objaverse.
    assert [texts for texts, _ in seen.values()] == [{5.}, {1.5, 5.}, {None}]
    # Thumbnails belong to Objaverse alone.
    assert [thumbnail for _, thumbnail in seen.values()] == [{True, False}, {False}, {False}]
    # y and z of the file are swapped, as in the released loader, then centered and scaled into the unit ball.
    expected = fixtures.cloud('B01', 200)[:, [0, 2, 1]]
    expected = expected - expected.mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1).max()
    np.testing.assert_allclose(dataset[2]['inputs']['points'].numpy(), expected, atol=1e-6)


def test_tamm_takes_the_thumbnail_and_three_renderings(tmp_path):
    write_triplets(tmp_path)
    dataset = triplets(tmp_path, pipeline=[dict(type='LoadOpenShapeObject', num_images=4),
                                           dict(type='PackPointInputs')])
    images = [item['inputs']['image_features'] for item in dataset]
    assert all(each.shape == (4, D) and len(each.unique(dim=0)) == 4 for each in images)
    assert (images[0][0] == 9).all() and not any((each[1:] == 9).any() for each in images)


def test_dlign_replaces_renderings_where_there_are_aligned_images(tmp_path):
    write_triplets(tmp_path)
    features = ImageFeatures.create(tmp_path / 'aligned', dict(name='bigG'))
    features.write(0, {'shapenet/02691156-abc': np.full((10, D), -1.)}, 'images')
    pipeline = [dict(type='LoadOpenShapeObject', num_images=4), dict(type='PackPointInputs')]
    dataset = triplets(tmp_path, aligned_features=str(tmp_path / 'aligned'), pipeline=pipeline)
    assert [bool((item['inputs']['image_features'] == -1).all()) for item in dataset] == [False, True, False]
    assert dataset.metainfo['image_features_clip'] == dict(name='bigG')
    features.write(0, {'shapenet/02691156-abc': np.full((10, D + 1), -1.)}, 'images')
    with pytest.raises(ValueError, match='17 entries, those of its renderings 16; encode them with the same CLIP'):
        dataset[1]
    features.write(0, {'other/02691156-abc': np.full((10, D), -1.)}, 'images')
    with pytest.raises(ValueError, match='set aligned_name'):
        triplets(tmp_path, aligned_features=str(tmp_path / 'aligned'))


def test_groups_of_neighbors(tmp_path):
    entries = write_triplets(tmp_path)
    names = [entry['id'] for entry in entries]
    # The third shape has no neighbor in the file but itself.
    np.save(tmp_path / 'knn.npy', dict(name=names, index={
        names[0]: np.array([0, 2, 1]), names[1]: np.array([1, 0, 2]), names[2]: np.array([2])}))
    pipeline = [dict(type='LoadOpenShapeObject'), dict(type='PackPointInputs')]
    groups = NeighborGroups(triplets(tmp_path, pipeline=pipeline), tmp_path / 'knn.npy', 2, num_neighbors=1)
    np.random.seed(0)
    found = set()
    for _ in range(20):
        batch = collate_groups([groups[0], groups[0]])
        ids = [sample.sample_id.partition('/')[2] for sample in batch['data_samples']]
        found |= {tuple(ids[:2]), tuple(ids[2:])}
        assert batch['inputs']['points'].shape == (4, 200, 3)
    assert found == {(names[0], names[2]), (names[1], names[0])} and len(groups) == 1
    np.save(tmp_path / 'other.npy', np.zeros(3))
    with pytest.raises(ValueError, match="other.npy is not a dict of 'name' and 'index'"):
        NeighborGroups(groups.dataset, tmp_path / 'other.npy')


def test_ulip_draws_a_synonym_and_a_rendering(tmp_path):
    fixtures.write_shapenet55_renderings(tmp_path, fixtures.write_shapenet55(tmp_path))
    config = load(REPOSITORY / 'configs/baselines/ulip_pointbert.py')
    settings = config.train_dataloader.dataset
    for part in settings.datasets:
        part.update(data_root=str(tmp_path))
        part.pipeline[-1].num_points = 50
    dataset = DATASETS.build(settings)
    assert len(dataset) == 3
    texts, kinds = set(), set()
    np.random.seed(0)
    for _ in range(20):
        item = dataset[2]  # the only one of the test list
        texts.add(item['data_samples'].text)
        assert item['inputs']['images'].shape == (1, 3, 224, 224)
        kinds.add(int(item['inputs']['images'][0, 0, -1, -1]))
        assert item['inputs']['points'].shape == (50, 3) and 'colors' not in item['inputs']
    assert texts == {'ashcan', 'trash can', 'garbage can'} and kinds == {200, 50}


def test_a_training_and_a_test_on_built_in_shapes(tmp_path):
    """With the runtime of the configs: checkpoints, results, metrics, and the vocabulary of the dataset."""
    config = Config.fromfile(REPOSITORY / 'configs/_base_/default_runtime.py')
    draw = [dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=dict(
        resolution=32, depth_bins=8, view_angles=(30, 120))),
        dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))]
    points = [dict(type='LoadBuiltInShape'), dict(type='ArrangePoints')]
    shapes = dict(type='BuiltInShapes', categories=('chair', 'table', 'bottle', 'lamp'), num_points=100)

    def loader(pipeline, **options):
        dataset = dict(shapes, pipeline=pipeline, **options)
        return dict(batch_size=8, num_workers=0, collate_fn=dict(type='collate_shapes'),
                    sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)

    config.update(
        model=tri_modal_config(return_embeddings=True), work_dir=str(tmp_path), custom_imports=None,
        train_dataloader=loader([*draw, dict(type='ArrangePoints'), dict(type='PackPointInputs')],
                                split='train', num_per_category=2),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=3),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.002)),
        test_dataloader=loader([*points, dict(type='PackPointInputs')], split='test', num_per_category=2),
        test_cfg=dict(type='ReportingTestLoop'), test_evaluator=dict(type='ZeroShotAccuracy'))
    config.default_hooks.logger.interval = 1
    runner = Runner.from_cfg(copy.deepcopy(config))
    runner.train()
    log = next(tmp_path.rglob('scalars.json')).read_text().splitlines()
    losses = [json.loads(line)['loss'] for line in log]
    assert losses[-1] < losses[0] and (tmp_path / 'epoch_3.pth').is_file()
    config.update(load_from=str(tmp_path / 'epoch_3.pth'))
    metrics = Runner.from_cfg(config).test()
    assert metrics['zero_shot/num_samples'] == 8 and 0 <= metrics['zero_shot/top1'] <= 100
