"""Several processes of a run: they see one folder, report each other's problems, and none waits in vain."""
import pytest
import torch
from mmengine import dist
from torch.utils.data import DataLoader

from helpers.stored_shapes import noise_store
from helpers.tiny_generation import VIEWS, generation_config
from helpers.together import run_together
from opendlign_mm import processes
from opendlign_mm.datasets.generated import DepthAlignDataset
from opendlign_mm.datasets.store import PackedShape, ShapeStore
from opendlign_mm.generation.image_stage import generate_images

STAND_IN = dict(type='SlowStandIn')


def generate(rank: int, config: dict, own_folder: bool = False) -> dict[str, str]:
    """Run the image stage; ``own_folder``: each process writes to its own disk."""
    processes._TRIES = 1
    return generate_images(dict(config, out_dir=f'{config["out_dir"]}/node{rank}' if own_folder else config['out_dir']))


@pytest.mark.parametrize('earlier_run', [False, True])
def test_processes_with_separate_disks_are_refused(tmp_path, earlier_run):
    source = noise_store(tmp_path / 'depth', images=False)
    config = generation_config(source.root, tmp_path / 'images', generator=STAND_IN)
    if earlier_run:  # as it is where a run was tried on each node before
        for rank in range(2):
            generate_images(dict(config, out_dir=f'{config["out_dir"]}/node{rank}'))
            for path in (tmp_path / f'images/node{rank}/manifest').iterdir():
                path.unlink()
    outcomes = run_together(generate, 2, tmp_path, config, True)
    assert [outcome.code for outcome in outcomes] == [2, 2]
    assert 'process 2 of 2' in outcomes[0].error and 'disk that their machines share' in outcomes[0].error
    assert 'share' not in outcomes[1].error, 'it is said once'
    assert not list(tmp_path.glob('images/*/manifest/*.parquet'))


def test_problems_of_all_processes_are_reported_by_each(tmp_path):
    """The second shard is the second process's."""
    source = noise_store(tmp_path / 'depth', images=False)
    for shard in range(3):
        shapes = list(source.read(shard))
        shapes[0] = PackedShape(shapes[0].metadata, [b'no png'] * VIEWS)
        source.write(shard, shapes)
    config = generation_config(source.root, tmp_path / 'images', generator=STAND_IN)
    outcomes = run_together(generate, 2, tmp_path, config)
    assert [outcome.code for outcome in outcomes] == [0, 0]
    for outcome in outcomes:
        assert sorted(outcome.result) == ['a', 'c', 'e']
        assert all('cannot be read' in problem for problem in outcome.result.values())
    store = ShapeStore(tmp_path / 'images')
    assert [shape.sample_id for shard in range(3) for shape in store.read(shard)] == ['b', 'd', 'f']


def iterate(rank: int, root: str, batch_size: int, drop_last: bool) -> list:
    """Stream an epoch as distributed training does: all processes meet at each batch."""
    data = DepthAlignDataset(root, seed=0)
    data.set_batches(batch_size, drop_last)
    names = []
    for batch in DataLoader(data, batch_size, drop_last=drop_last, collate_fn=list):
        names += [item['sample_id'] for item in batch]
        count = torch.ones(1)
        dist.all_reduce(count)
        assert count == dist.get_world_size()
    return names


@pytest.mark.parametrize('objects, count', [(1, 3), (2, 5)])
def test_more_processes_than_objects_train_on_the_same_number_of_batches(tmp_path, objects, count):
    store = noise_store(tmp_path / 'store', 'ab'[:objects], 2)
    outcomes = run_together(iterate, count, tmp_path, str(store.root), 1, False, seconds=30)
    assert [outcome.code for outcome in outcomes] == [0] * count, [outcome.error for outcome in outcomes]
    assert [len(outcome.result) for outcome in outcomes] == [1] * count
    assert {name for outcome in outcomes for name in outcome.result} == set('ab'[:objects])
