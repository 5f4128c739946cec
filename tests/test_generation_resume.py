"""The image stage killed, out of space and fed with broken input: nothing is lost, and running again mends it."""
import multiprocessing
import os
import random
import resource
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_generation import (SHAPES, SIZE, VIEWS, depth_store, diffusion_config, files_of, generation_config,
                             image_worker)
from tiny_runs import REPOSITORY  # noqa: F401

from opendlign_mm.datasets.store import PackedShape, ShapeStore, encode_image
from opendlign_mm.generation.depth_stage import project_depth
from opendlign_mm.generation.image_stage import generate_images

STAND_IN = dict(type='SlowStandIn')
KILLS = 24


@pytest.fixture(scope='module')
def depth(tmp_path_factory) -> ShapeStore:
    return depth_store(tmp_path_factory.mktemp('depth') / 'views')


def made(depth: ShapeStore, out_dir: Path, **changes) -> ShapeStore:
    """Images of all objects that can be read."""
    generate_images(generation_config(depth.root, out_dir, **dict(dict(generator=STAND_IN), **changes)))
    return ShapeStore(out_dir)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


class TwoWorkers:
    """Two processes of the image stage, forked from one that has imported everything."""

    def __init__(self, config: dict, folder: Path, renames=(-1, -1)) -> None:
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['tiny_generation'])
        port = free_port()
        self.marks = [folder / f'mark{rank}' for rank in (0, 1)]
        for mark in self.marks:
            mark.unlink(missing_ok=True)
        self.processes = [context.Process(target=image_worker, args=(config, rank, port, str(mark), rename))
                          for rank, (mark, rename) in enumerate(zip(self.marks, renames))]
        for process in self.processes:
            process.start()

    def wait_until_working(self) -> None:
        while not all(mark.exists() for mark in self.marks) and all(p.is_alive() for p in self.processes):
            time.sleep(.005)

    def wait_for_one(self) -> None:
        while all(process.is_alive() for process in self.processes):
            time.sleep(.005)

    def kill(self, first: int) -> int:
        """SIGKILL both, as torchrun ends the rest when one dies; how many were killed, also by themselves."""
        for process in (self.processes[first], self.processes[1 - first]):
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
        return self.join().count(-signal.SIGKILL)

    def join(self) -> list:
        for process in self.processes:
            process.join(120)
        return [process.exitcode for process in self.processes]


@pytest.mark.slow
@pytest.mark.parametrize('layout', ['shards', 'folder'])
def test_killed_at_random_moments(tmp_path, layout):
    """After any number of kills and a last run: every byte as in a run that nobody disturbed."""
    project_depth(dict(SHAPES, num_per_category=4), tmp_path / 'depth', VIEWS, dict(resolution=SIZE, depth_bins=8),
                  shapes_per_shard=1)
    depth = ShapeStore(tmp_path / 'depth')
    generator = dict(type='SlowStandIn', seconds=.02)
    options = dict(generator=generator, layout=layout, batch_size=2)
    expected = files_of(made(depth, tmp_path / 'undisturbed', **options).root)
    random_state, killed, rounds = random.Random(5), 0, 0
    while killed < KILLS // 2 + KILLS // 2 * (layout == 'shards'):
        out_dir = tmp_path / f'killed{rounds}'
        config = generation_config(depth.root, out_dir, **options)
        # A few times into one store, or all would be done.
        for _ in range(6):
            rounds += 1
            at_rename = random_state.random() < .5
            renames = [random_state.randrange(12) if at_rename else -1 for _ in (0, 1)]
            workers = TwoWorkers(config, tmp_path, renames)
            workers.wait_until_working()
            workers.wait_for_one() if at_rename else time.sleep(random_state.random() * .3)
            killed += workers.kill(random_state.randrange(2))
        # The last run has two workers as well.
        assert TwoWorkers(config, tmp_path).join() == [0, 0]
        store = ShapeStore(out_dir)
        assert files_of(out_dir) == expected
        names = [shape.sample_id for shard in range(store.num_shards) for shape in store.read(shard)]
        assert len(names) == len(set(names)) == 24
        for shard in range(store.num_shards):
            store.verify(shard)
            assert all(shape.images().shape == (VIEWS, SIZE, SIZE, 3) for shape in store.read(shard))


def test_one_and_three_workers_make_the_same_bytes(depth, tmp_path, monkeypatch):
    """Also with another batch size, and in another order."""
    from opendlign_mm.generation import image_stage
    expected = files_of(made(depth, tmp_path / 'one').root)
    assert len(expected) == 7
    config = generation_config(depth.root, tmp_path / 'three', generator=STAND_IN, batch_size=3)
    for rank in (2, 0, 1):
        monkeypatch.setattr(image_stage, 'own_share', lambda shards: [shard for shard in range(2, -1, -1)
                                                                      if shard % 3 == rank])
        generate_images(config)
    assert files_of(tmp_path / 'three') == expected


def test_diffusion_resumed_in_other_batches(depth, tmp_path):
    """The diffusion model itself, shards removed, another batch size: the same bytes; another pass: but for rounding."""
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
def test_a_shard_cut_off_is_made_again(depth, tmp_path, keep):
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


def test_a_cut_off_source_is_named_and_the_rest_is_made(depth, tmp_path):
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
def test_broken_depth_views_are_left_out_and_made_once_mended(depth, tmp_path, spoilt):
    spoil, message = SPOILT[spoilt]
    config = generation_config(broken_source(depth, tmp_path / 'depth', spoil).root, tmp_path / 'images',
                               generator=STAND_IN)
    (name, problem), = generate_images(config).items()
    assert name in problem
    import re
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
    (tmp_path / 'texts.json').write_text('{"cut off')
    with pytest.raises(ValueError, match='texts.json.*cut off'):
        generate_images(dict(config, metadata=str(tmp_path / 'texts.json')))
    (tmp_path / 'texts.json').write_text(f'{{"{name}": "{name.split("-")[0]}"}}')
    assert generate_images(dict(config, metadata=str(tmp_path / 'texts.json'))) == {}
    assert files_of(tmp_path / 'images') == files_of(made(depth, tmp_path / 'undisturbed').root)


@pytest.mark.parametrize('layout', ['shards', 'folder'])
def test_disk_full(depth, tmp_path, layout):
    """A file-size limit in the place of a full disk."""
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


def test_missing_source(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.*project_depth'):
        generate_images(generation_config(tmp_path / 'nowhere', tmp_path / 'images'))


def test_depth_stage_leaves_out_broken_clouds_and_tries_again(tmp_path):
    for name in ('cup', 'chair'):
        (tmp_path / 'shapes' / name).mkdir(parents=True)
        np.save(tmp_path / 'shapes' / name / 'a.npy', np.random.default_rng(0).random((200, 3)).astype(np.float32))
    (tmp_path / 'shapes/cup/b.npy').write_bytes(b'nothing')
    from opendlign_mm.generation.depth_stage import shapes_to_project
    arguments = shapes_to_project(str(tmp_path / 'shapes')), tmp_path / 'depth', VIEWS, dict(resolution=SIZE)
    (name, problem), = project_depth(*arguments).items()
    assert name.endswith('cup/b.npy') and 'b.npy' in problem
    store = ShapeStore(tmp_path / 'depth')
    assert [shape.metadata['text'] for shape in store.read(0)] == ['chair', 'cup']
    np.save(tmp_path / 'shapes/cup/b.npy', np.random.default_rng(1).random((200, 3)).astype(np.float32))
    assert project_depth(*arguments) == {}
    assert len(list(store.read(0))) == 3
