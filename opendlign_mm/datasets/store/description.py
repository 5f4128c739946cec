"""The description of a store, ``store.json``: layout, sizes, and the settings that determine its contents."""
import json
from pathlib import Path
from typing import Any, Literal, get_args

from ...atomic_files import atomic_write
from ...source_files import read_json

Layout = Literal['shards', 'folder']
DESCRIPTION = 'store.json'


def read_description(path: Path) -> dict[str, Any]:
    """Read a description.

    Returns:
        ``layout``, ``num_shapes``, ``shapes_per_shard`` and ``settings``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or describes something else.
    """
    description = read_json(path, 'tools/project_depth.py and tools/generate_images.py write such folders.')
    kinds = dict(layout=str, num_shapes=int, shapes_per_shard=int, settings=dict)
    wrong = [key for key, kind in kinds.items()
             if not isinstance(description, dict) or not isinstance(description.get(key), kind)]
    if wrong or description['layout'] not in get_args(Layout) or description['shapes_per_shard'] < 1:
        raise ValueError(f'{path} does not describe a store (wrong: {", ".join(wrong) or "layout or sizes"}); remove '
                         'it and run the command that made the store again')
    return description


def write_description(path: Path, description: dict[str, Any]) -> None:
    """Write a description; values that JSON does not know become their ``repr``."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(description, indent=1, sort_keys=True, default=repr))


def check_same_description(path: Path, wanted: dict[str, Any]) -> None:
    """Raise ValueError that names the differences if the description at ``path`` is not ``wanted``."""
    old, new = _flat(read_description(path)), _flat(json.loads(json.dumps(wanted, default=repr)))
    changed = [f'{key}: {old.get(key)!r} there, {new.get(key)!r} now' for key in sorted(old.keys() | new.keys())
               if old.get(key) != new.get(key)]
    if changed:
        raise ValueError(f'{path.parent} was started with other settings ({"; ".join(changed[:5])}). Continue with its '
                         'own settings, or choose another folder.')


def _flat(node: Any, name: str = '') -> dict[str, Any]:
    """Flatten nested dicts: names joined by dots -> values."""
    if not isinstance(node, dict):
        return {name: node}
    flat = {}
    for key, value in node.items():
        flat.update(_flat(value, f'{name}.{key}' if name else key))
    return flat
