"""Lists of the objects to train on, as the authors' filter and tools/filter_images.py make them."""
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from mmengine.logging import print_log

from ..source_files import read_json, read_lines
from .unreadable import OnUnreadable

REMEDY = 'Give a list of objects such as tools/filter_images.py --keep-list writes.'


def read_keep_list(path: str | Path, remedy: str = REMEDY) -> list[str]:
    """Read a list of objects: a text file with a line for each, or a JSON list.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, or a JSON file of something else; the message names it.
    """
    if Path(path).suffix.lower() != '.json':
        return read_lines(path, remedy)
    names = read_json(path, remedy)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f'{path} must hold a JSON list of at least one name of an object. {remedy}')
    return [name.strip() for name in names]


def objects_of_list(wanted: Sequence[str], known: Iterable[str], path: str | Path) -> tuple[set[str], list[str]]:
    """Find the objects that a list names: by the whole ``sample_id``, or by its last part where only one has it.

    Args:
        wanted: Entries of the list: ids, or paths that end in them.
        known: ``sample_id`` of each object of the dataset.
        path: File of the list, for the message.

    Returns:
        The ids of the objects found, and the entries that name none.

    Raises:
        ValueError: An entry may be several objects; the message names some.
    """
    ids = set(known)
    by_last_part: dict[str, list[str]] = defaultdict(list)
    for name in ids:
        by_last_part[PurePosixPath(name).name].append(name)
    found, missing = set(), []
    for entry in wanted:
        same = [entry] if entry in ids else by_last_part.get(PurePosixPath(entry).name, [])
        if len(same) > 1:
            raise ValueError(f'{path}: {entry} may be {", ".join(sorted(same)[:3])}{", ..." * (len(same) > 3)}; '
                             'give the whole name')
        found.update(same)
        missing += [] if same else [entry]
    return found, missing


def listed_positions(ids: Sequence[Sequence[str]], positions: Sequence[Sequence[int]], path: str | Path,
                     root: str | Path, on_unreadable: OnUnreadable) -> list[list[int]]:
    """Return the positions of the objects that a list names.

    Args:
        ids: ``sample_id`` of each object of each shard.
        positions: Positions in each shard to choose from.
        path: File of the list.
        root: Folder of the shards, for the messages.
        on_unreadable: Whether entries that name no object are an 'error', or are named in the log: 'skip'.

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: Entries name no object, or none of ``positions`` is listed; the message names some.
    """
    wanted = read_keep_list(path)
    found, missing = objects_of_list(wanted, (name for names in ids for name in names), path)
    if missing:
        problem = (f'{len(missing)} of {len(wanted)} objects of {path} are not in {root}: {", ".join(missing[:3])}'
                   f'{", ..." * (len(missing) > 3)}')
        if on_unreadable == 'error' or not found:
            raise ValueError(f"{problem}. Correct the list, or generate their images; on_unreadable='skip' takes the "
                             'others')
        print_log(problem, 'current', logging.WARNING)
    listed = [[position for position in places if names[position] in found]
              for names, places in zip(ids, positions, strict=True)]
    if not any(listed):
        raise ValueError(f'the filter rejected all objects of {path}; set only_kept=False to use them')
    return listed
