"""What a run of a stage has to make: the shards that are missing, and the objects that earlier runs could not make."""
from collections.abc import Callable

from mmengine import dist

from ..datasets.store import ShapeStore
from ..file_keys import readable_text
from ..processes import on_first_process, say


def missing_shards(store: ShapeStore, retry: Callable[[int], bool]) -> list[int]:
    """Return the shards that this run has to make, the same list on all processes.

    Args:
        store: The store; leftovers of killed processes in it are removed.
        retry: Tells whether a finished shard that lacks objects is worth another try.
    """
    def look() -> list[int]:
        store.remove_unfinished()
        return [shard for shard in range(store.num_shards) if not store.is_done(shard) or retry(shard)]

    return on_first_process(look)


def say_known_problems(store: ShapeStore, problems: dict[str, str]) -> None:
    """Print how many objects of earlier runs are still missing in a store, which are not among ``problems``."""
    if dist.get_rank() == 0:
        known = {row['sample_id'] for shard in range(store.num_shards) for row in store.rows(shard)
                 if row['problem']} - set(map(readable_text, problems))
        if known:
            say(f'{len(known)} objects of {store.root} are still missing, for example {min(known)}: they could not be '
                'read or made by an earlier run, and are tried again once their files have changed')
