"""tools/render_images.py: stores that training reads, broken meshes, and what is done again after an interruption."""
import re
import sys

import numpy as np
import pytest
import trimesh
from mmdet3d.registry import DATASETS
from mmengine.registry import init_default_scope

from helpers.tiny_generation import files_of
from helpers.tool_modules import load_tool
from opendlign_mm.datasets.store import ShapeStore

OPTIONS = ['--views', '2', '--resolution', '24', '--projection', 'depth_bins=8', '--num-points', '300',
           '--shapes-per-shard', '1', '--samples', '1']


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """Three meshes of two classes."""
    monkeypatch.chdir(tmp_path)
    for name, side in (('cup/a', 1), ('cup/b', 2), ('lamp/c', 3)):
        path = tmp_path / 'shapes' / f'{name}.obj'
        path.parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box((1, side, 2)).export(path)
    return tmp_path / 'shapes'


def render(monkeypatch, capfd, out, *options, code: int = 0, workers: int = 0) -> str:
    tool = load_tool('render_images')
    monkeypatch.setattr(sys, 'argv', ['render_images.py', 'shapes', out, *OPTIONS, '--workers', str(workers), *options])
    if not code:
        tool.main()
        return ''.join(capfd.readouterr())
    with pytest.raises(SystemExit) as stop:
        tool.main()
    assert stop.value.code == code
    return capfd.readouterr().err


@pytest.mark.parametrize('layout, workers', [('shards', 1), ('folder', 0)])
def test_training_reads_the_renderings(shapes, monkeypatch, capfd, layout, workers):
    render(monkeypatch, capfd, 'out', '--layout', layout, workers=workers)
    init_default_scope('mmdet3d')
    dataset = DATASETS.build(dict(type='DepthAlignDataset', data_root='out', shuffle=False, pipeline=[
        dict(type='PackShapeInputs', caption='a {}')]))
    found = {item['data_samples'].sample_id: item for item in dataset}
    assert sorted(found) == ['shapes/cup/a.obj', 'shapes/cup/b.obj', 'shapes/lamp/c.obj']
    inputs, sample = found['shapes/lamp/c.obj'].values()
    assert inputs['images'].shape == (2, 3, 24, 24) and inputs['depth_views'].shape == (2, 24, 24)
    assert sample.caption == 'a lamp'
    covered, drawn = inputs['depth_views'] < .99, (inputs['images'].float() < 250).any(1)
    assert (covered & drawn).sum() > .8 * drawn.sum()


def test_a_second_run_keeps_and_a_stopped_one_goes_on(shapes, monkeypatch, capfd):
    assert 'this process makes 3' in render(monkeypatch, capfd, 'whole')
    expected = files_of(shapes.parent / 'whole')
    times = {path: path.stat().st_mtime_ns for path in (shapes.parent / 'whole').glob('shard*')}
    assert 'this process makes 0' in render(monkeypatch, capfd, 'whole')
    assert times == {path: path.stat().st_mtime_ns for path in times}
    write, done = ShapeStore.write, []

    def stopped(store, shard, *args, **options):
        if done:
            raise KeyboardInterrupt
        done.append(shard)
        return write(store, shard, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ShapeStore, 'write', stopped)
        with pytest.raises(KeyboardInterrupt):
            render(monkeypatch, capfd, 'stopped')
    assert 'this process makes 2' in render(monkeypatch, capfd, 'stopped')
    assert files_of(shapes.parent / 'stopped') == expected
    message = render(monkeypatch, capfd, 'whole', '--background', '0', '0', '0', code=2)
    assert 'was started with other settings' in message and 'background' in message


def test_broken_meshes_are_listed_and_made_when_they_are_repaired(shapes, monkeypatch, capfd):
    np.savetxt(shapes / 'lamp/cloud.xyz', np.random.default_rng(0).random((20, 3)))
    whole = (shapes / 'cup/b.obj').read_text()
    (shapes / 'cup/b.obj').write_text(whole.replace('v ', 'v nan ', 1))
    message = render(monkeypatch, capfd, 'out', code=2)
    assert re.search(r'2 objects have no renderings', message) and 'is not a mesh' in message
    (shapes / 'cup/b.obj').write_text(whole)
    message = render(monkeypatch, capfd, 'out')
    assert 'this process makes 1' in message and '1 objects of out are still missing' in message
    assert ShapeStore('out').stored_ids(1) == ['shapes/cup/b.obj']
