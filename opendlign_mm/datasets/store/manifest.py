"""The manifest of a shard: a small Parquet file with a row for each object.

It is written after the data of the shard, so a shard with a manifest is complete.
"""
import json
from collections.abc import Sequence
from pathlib import Path

from ...atomic_files import atomic_write

Row = dict[str, str | int | float | bool | None]


def manifest_row(metadata: dict, num_bytes: int = 0) -> Row:
    """Return the row of a stored object.

    Args:
        metadata: Metadata of the object.
        num_bytes: Total size of its files in the folder layout, else 0.
    """
    return dict(sample_id=metadata['sample_id'], text=metadata.get('text', ''), score=metadata.get('score'),
                rank=metadata.get('rank'), kept=metadata.get('kept'), bytes=num_bytes, problem='',
                metadata=json.dumps(metadata, sort_keys=True))


def problem_row(sample_id: str, problem: str) -> Row:
    """Return the row of an object that could not be stored, with the reason."""
    return dict(sample_id=sample_id, text='', score=None, rank=None, kept=None, bytes=0, problem=problem,
                metadata='{}')


def write_manifest(path: Path, rows: Sequence[Row], facts: dict[str, str]) -> None:
    """Write the rows and the facts about the whole shard; equal rows give equal bytes."""
    import pyarrow as pa
    from pyarrow import parquet
    schema = pa.schema([
        ('sample_id', pa.string()), ('text', pa.string()), ('score', pa.float64()), ('rank', pa.int64()),
        ('kept', pa.bool_()), ('bytes', pa.int64()), ('problem', pa.string()), ('metadata', pa.string())])
    table = pa.Table.from_pylist(list(rows), schema).replace_schema_metadata(facts)
    with atomic_write(path) as unfinished:
        parquet.write_table(table, unfinished)


def read_manifest(path: Path) -> list[Row]:
    """Read the rows of a shard. Raises ValueError that names the file if it is damaged."""
    return _read(path).to_pylist()


def read_facts(path: Path) -> dict[str, str]:
    """Read the facts about a shard. Raises ValueError that names the file if it is damaged."""
    return {key.decode(): value.decode() for key, value in (_read(path).schema.metadata or {}).items()}


def _read(path: Path):
    import pyarrow as pa
    from pyarrow import parquet
    try:
        return parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f'the manifest {path} cannot be read: {error}') from error
