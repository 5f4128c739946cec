"""The image stage killed, out of space and with broken input: nothing is lost, and running again completes it."""
import fcntl
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.generation_workers import Workers, free_port
from helpers.tiny_generation import SHAPES, SIZE, VIEWS, depth_store, diffusion_config, files_of, generation_config
from helpers.tool_modules import REPOSITORY
from opendlign_mm.datasets.store import PackedShape, ShapeStore, encode_image
from opendlign_mm.generation.depth_stage import project_depth
from opendlign_mm.generation.image_stage import generate_images
from opendlign_mm.processes import only_run

STAND_IN = dict(type='SlowStandIn')
# Runs of two workers that are killed at work, for each layout.
KILLS = dict(shards=20, folder=10)


@pytest.fixture(scope='module')
def depth(tmp_path_factory) -> ShapeStore:
    return depth_store(tmp_path_factory.mktemp('depth') / 'views')


def made(depth: ShapeStore, out_dir: Path, **changes) -> ShapeStore:
    """Images of all objects that can be read."""
    generate_images(generation_config(depth.root, out_dir, **dict(dict(generator=STAND_IN), **changes)))
    return ShapeStore(out_dir)


@pytest.mark.slow
@pytest.mark.parametrize('layout', KILLS)
def test_killed_at_random_moments(tmp_path, layout):
    """After any number of kills and a last run, every byte is as in an undisturbed run."""
    project_depth(dict(SHAPES, num_per_category=4), tmp_path / 'depth', VIEWS, dict(resolution=SIZE, depth_bins=8),
                  shapes_per_shard=1)
    options = dict(generator=dict(type='SlowStandIn', seconds=.02), layout=layout, batch_size=2)
    depth = ShapeStore(tmp_path / 'depth')
    expected = files_of(made(depth, tmp_path / 'undisturbed', **options).root)
    random_state, kills, stores = random.Random(5), 0, 0
    while kills < KILLS[layout]:
        stores += 1
        config = generation_config(depth.root, tmp_path / f'killed{stores}', **options)
        while killed_at_work(config, tmp_path, random_state) and kills < KILLS[layout]:
            kills += 1
        # The last run has two workers as well.
        assert Workers(config, tmp_path).join() == [0, 0]
        store = ShapeStore(config['out_dir'])
        assert files_of(store.root) == expected
        names = [shape.sample_id for shard in range(store.num_shards) for shape in store.read(shard)]
        assert len(names) == len(set(names)) == 24
        for shard in range(store.num_shards):
            store.verify(shard)
            assert all(shape.images().shape == (VIEWS, SIZE, SIZE, 3) for shape in store.read(shard))


def killed_at_work(config: dict, folder: Path, random_state: random.Random) -> bool:
    """Run two workers and kill one or both, after a time or at a renaming; return whether work was left."""
    at_renaming = random_state.random() < .5
    workers = Workers(config, folder, renames=[random_state.randrange(30) if at_renaming else -1 for _ in (0, 1)])
    moment, victims = random_state.random() * .3, random_state.choice([(0, 1), (0, 1), (0, ), (1, )])
    while workers.all_alive and not (workers.working and not at_renaming):
        time.sleep(.002)
    if not at_renaming:
        time.sleep(moment)
    if len(victims) == 2 or not at_renaming:  # a launcher ends the others when one has died, or they continue
        workers.kill(victims)
    codes = workers.join()
    described = Path(config['out_dir'], 'store.json').exists()
    return -signal.SIGKILL in codes and (not described or bool(ShapeStore(config['out_dir']).missing()))


@pytest.mark.slow
def test_one_and_three_workers_make_the_same_bytes(depth, tmp_path):
    """Also with another batch size, and when another number of workers completes a store."""
    configs = {count: generation_config(depth.root, tmp_path / f'by{count}', batch_size=5 - count)
               for count in (1, 3)}
    for count, config in configs.items():
        assert Workers(config, tmp_path, count).join() == [0] * count
    expected = files_of(tmp_path / 'by1')
    assert files_of(tmp_path / 'by3') == expected and len(expected) == 7
    (tmp_path / 'by3/manifest/000000.parquet').unlink()
    (tmp_path / 'by3/shard-000002.tar').unlink()
    assert Workers(configs[3], tmp_path, 2).join() == [0, 0]
    assert files_of(tmp_path / 'by3') == expected


def test_the_order_of_shards_changes_nothing(depth, tmp_path, monkeypatch):
    from opendlign_mm.generation import image_stage
    expected = files_of(made(depth, tmp_path / 'one').root)
    monkeypatch.setattr(image_stage, 'own_share', lambda shards: [2, 0, 1])
    assert files_of(made(depth, tmp_path / 'other', batch_size=3).root) == expected


@pytest.mark.slow
def test_torchrun(depth, tmp_path):
    """A broken object of one process is reported at the end and ends no other process."""
    source = broken_source(depth, tmp_path / 'depth', lambda shape: PackedShape(shape.metadata, [b'no png'] * VIEWS))
    config = dict(generation_config(source.root, tmp_path / 'images', generator=dict(type='ShadedTextureGenerator')))
    config.pop('filter')
    (tmp_path / 'config.py').write_text('\n'.join(f'{key} = {value!r}' for key, value in config.items()))
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--nnodes', '1',
               '--master-port', str(free_port()), REPOSITORY / 'tools/generate_images.py', tmp_path / 'config.py']
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode
    assert result.stderr.count('error: 1 objects have no images') == 1 and 'number 0, cannot be read' in result.stderr
    store = ShapeStore(tmp_path / 'images')
    assert store.missing() == [] and sum(len(list(store.read(shard))) for shard in range(3)) == 5
    assert 'process 1 of 2' in result.stdout and 'process 2 of 2' in result.stdout
    assert re.search(r'all 2 processes: 10 images of 5 objects in .* images/s, .* s per object.*on the CPU',
                     result.stdout)


def test_a_run_excludes_other_runs(depth, tmp_path, monkeypatch):
    """A lock is held as long as any process of the run lives."""
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)
    made(depth, tmp_path / 'images')
    with only_run(tmp_path / 'images'):
        second = subprocess.run(['flock', '--exclusive', '--nonblock', tmp_path / 'images/.lock', 'true'])
        assert second.returncode == 1
    with open(tmp_path / 'images/.lock', 'a+') as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(RuntimeError, match='another run is writing'):
            with only_run(tmp_path / 'images'):
                pass


def test_a_worker_that_dies_is_reported_by_the_others(depth, tmp_path):
    generator = dict(type='SlowStandIn', seconds=.02)
    config = generation_config(depth.root, tmp_path / 'images', generator=generator)
    workers = Workers(config, tmp_path, renames=[-1, 0])
    assert workers.join() == [2, -signal.SIGKILL]
    assert 'another process of this run has died; run the command again' in workers.marks[0].read_text()
    assert ShapeStore(tmp_path / 'images').missing() == [1]


def test_launchers_on_gpus(monkeypatch):
    """mmengine gets the right arguments (no GPU is needed)."""
    from opendlign_mm import processes
    started = {}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 1)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **options: started.update(options))
    for name, value in dict(RANK='1', LOCAL_RANK='1', WORLD_SIZE='2', TORCHELASTIC_RUN_ID='1').items():
        monkeypatch.setenv(name, value)
    assert processes.join_processes() == torch.device('cuda', 1)
    assert started['backend'] == 'gloo' and started['timeout'].days == 60


def test_diffusion_resumed_in_other_batches(depth, tmp_path):
    """Another batch size gives the same bytes, another pass size the same images up to rounding."""
    config = generation_config(depth.root, tmp_path / 'images')
    generate_images(config)
    expected = files_of(tmp_path / 'images')
    store = ShapeStore(tmp_path / 'images')
    store.manifest_path(1).unlink()
    store.shard_path(2).unlink()
    generate_images(dict(config, batch_size=1))
    assert files_of(tmp_path / 'images') == expected
    generate_images(generation_config(depth.root, tmp_path / 'other', generator=diffusion_config(pass_size=2)))
    for shard in range(store.num_shards):
        for one, other in zip(store.read(shard), ShapeStore(tmp_path / 'other').read(shard)):
            assert np.abs(one.images().astype(int) - other.images().astype(int)).max() <= 1


def test_running_again_does_nothing(depth, tmp_path):
    store = made(depth, tmp_path / 'images')
    times = {path: path.stat().st_mtime_ns for path in store.root.rglob('*.*') if path.name != '.lock'}
    made(depth, tmp_path / 'images')
    assert times == {path: path.stat().st_mtime_ns for path in store.root.rglob('*.*') if path.name != '.lock'}


@pytest.mark.parametrize('keep', [.5, .9, 0])
def test_a_truncated_shard_is_made_again(depth, tmp_path, keep):
    store = made(depth, tmp_path / 'images')
    expected = files_of(store.root)
    path = store.shard_path(1)
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * keep)])
    assert store.missing() == [1]
    with pytest.raises(ValueError, match='shard-000001.tar.*not what was written'):
        store.verify(1)
    made(depth, tmp_path / 'images')
    assert files_of(store.root) == expected
    store.manifest_path(2).write_bytes(b'PAR1 no more')
    assert store.missing() == [2]
    made(depth, tmp_path / 'images')
    assert files_of(store.root) == expected


def test_a_truncated_source_is_named_and_the_rest_is_made(depth, tmp_path):
    import shutil
    copy = ShapeStore(shutil.copytree(depth.root, tmp_path / 'depth'))
    whole = copy.shard_path(1).read_bytes()
    copy.shard_path(1).write_bytes(whole[:2000])
    config = generation_config(copy.root, tmp_path / 'images', generator=STAND_IN)
    problems = generate_images(config)
    assert problems and all('shard-000001.tar' in text for text in problems.values())
    assert ShapeStore(tmp_path / 'images').missing() == []
    copy.shard_path(1).write_bytes(whole)
    assert generate_images(config) == {}
    assert files_of(tmp_path / 'images') == files_of(made(depth, tmp_path / 'undisturbed').root)


def broken_source(depth: ShapeStore, root: Path, spoil) -> ShapeStore:
    """A copy of the depth views in which ``spoil`` has changed the third object."""
    copy = ShapeStore.create(root, 'shards', depth.num_shapes, depth.shapes_per_shard, depth.settings)
    for shard in range(depth.num_shards):
        shapes = list(depth.read(shard))
        if shard == 1:
            shapes[0] = spoil(shapes[0])
        copy.write(shard, shapes)
    return copy


SPOILT = {
    'wrong size': (lambda shape: PackedShape(shape.metadata, [encode_image(np.zeros((16, 16), np.uint8))] * VIEWS),
                   r'\(2, 16, 16\).*\(2, 32, 32\)'),
    'one view': (lambda shape: PackedShape(shape.metadata, shape.depth_files[:1]), r'\(1, 32, 32\)'),
    'unreadable png': (lambda shape: PackedShape(shape.metadata, [shape.depth_files[0], shape.depth_files[1][:60]]),
                       'number 1, cannot be read'),
    'no png': (lambda shape: PackedShape(shape.metadata, [b'nonsense'] * VIEWS), 'number 0, cannot be read')}


@pytest.mark.parametrize('spoilt', SPOILT)
def test_broken_depth_views_are_skipped_and_made_once_fixed(depth, tmp_path, spoilt):
    spoil, message = SPOILT[spoilt]
    config = generation_config(broken_source(depth, tmp_path / 'depth', spoil).root, tmp_path / 'images',
                               generator=STAND_IN)
    (name, problem), = generate_images(config).items()
    assert name in problem
    assert re.search(message, problem)
    store = ShapeStore(tmp_path / 'images')
    before = files_of(store.root)
    assert store.missing() == [] and sum(bool(row['problem']) for row in store.rows(1)) == 1
    assert generate_images(config) == {} and files_of(store.root) == before, 'not tried in vain'
    broken_source(depth, tmp_path / 'depth', lambda shape: shape)
    assert generate_images(config) == {}
    assert files_of(store.root) == files_of(made(depth, tmp_path / 'undisturbed').root)


def test_missing_metadata(depth, tmp_path):
    def nameless(shape):
        return PackedShape(dict(shape.metadata, text=''), shape.depth_files)

    source = broken_source(depth, tmp_path / 'depth', nameless)
    config = generation_config(source.root, tmp_path / 'images', generator=STAND_IN)
    name = next(source.read(1)).sample_id
    with pytest.raises(ValueError, match=f'1 of 6 objects have no text.*{name}.*metadata=FILE'):
        generate_images(config)
    assert not (tmp_path / 'images/store.json').exists()
    (tmp_path / 'texts.json').write_text('{"truncated')
    with pytest.raises(ValueError, match='texts.json.*(cut off|truncated)'):
        generate_images(dict(config, metadata=str(tmp_path / 'texts.json')))
    (tmp_path / 'texts.json').write_text(f'{{"{name}": "{name.split("-")[0]}"}}')
    assert generate_images(dict(config, metadata=str(tmp_path / 'texts.json'))) == {}
    assert files_of(tmp_path / 'images') == files_of(made(depth, tmp_path / 'undisturbed').root)


@pytest.mark.parametrize('layout', ['shards', 'folder'])
def test_disk_full(depth, tmp_path, layout):
    """A file-size limit stands in for a full disk."""
    expected = files_of(made(depth, tmp_path / 'undisturbed', layout=layout).root)
    store = made(depth, tmp_path / 'images', layout=layout)
    kept = {name: value for name, value in files_of(store.root).items()}
    store.manifest_path(1).unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OSError, match='shard 1 cannot be written.*2 of 3 shards are done and kept; make room'):
            made(depth, tmp_path / 'images', layout=layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = files_of(store.root)
    assert left.pop('manifest/000001.parquet', None) is None
    assert left == {name: value for name, value in kept.items() if name in left} and len(left) == len(kept) - 1
    made(depth, tmp_path / 'images', layout=layout)
    assert files_of(store.root) == expected


def test_other_settings_are_refused(depth, tmp_path):
    made(depth, tmp_path / 'images')
    with pytest.raises(ValueError, match='other settings.*settings.seed: 1 there, 2 now'):
        made(depth, tmp_path / 'images', seed=2)
    made(depth, tmp_path / 'images', batch_size=1)
    for manifest in (tmp_path / 'images/manifest').iterdir():
        manifest.unlink()
    assert made(depth, tmp_path / 'images', seed=2).settings['seed'] == 2, 'nothing was done with the old ones'


def test_missing_source(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.*project_depth'):
        generate_images(generation_config(tmp_path / 'nowhere', tmp_path / 'images'))


def test_the_depth_stage_skips_broken_clouds_and_tries_them_again(tmp_path):
    for name in ('cup', 'chair'):
        (tmp_path / 'shapes' / name).mkdir(parents=True)
        np.save(tmp_path / 'shapes' / name / 'a.npy', np.random.default_rng(0).random((200, 3)).astype(np.float32))
    (tmp_path / 'shapes/cup/b.npy').write_bytes(b'nothing')
    from opendlign_mm.generation.shape_sources import shapes_to_project
    arguments = shapes_to_project(str(tmp_path / 'shapes')), tmp_path / 'depth', VIEWS, dict(resolution=SIZE)
    (name, problem), = project_depth(*arguments).items()
    assert name.endswith('cup/b.npy') and 'b.npy' in problem
    store = ShapeStore(tmp_path / 'depth')
    assert [shape.metadata['text'] for shape in store.read(0)] == ['chair', 'cup']
    np.save(tmp_path / 'shapes/cup/b.npy', np.random.default_rng(1).random((200, 3)).astype(np.float32))
    assert project_depth(*arguments) == {}
    assert len(list(store.read(0))) == 3
