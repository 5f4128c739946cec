"""The manifest of a shard: a small Parquet file with a row for each object.

It is written after the data of the shard, so a shard with a manifest is complete.
"""
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...atomic_files import atomic_write
from ...file_keys import readable_text
from ...source_files import is_error_of_machine

Row = dict[str, Any]


class Manifest(NamedTuple):
    """Contents of a manifest.

    Attributes:
        rows: The stored objects in their order, then those that could not be stored.
        facts: Names and values that describe the whole shard.
    """
    rows: list[Row]
    facts: dict[str, str]


def manifest_row(metadata: dict, num_bytes: int = 0) -> Row:
    """Return the row of a stored object.

    Args:
        metadata: Metadata of the object.
        num_bytes: Total size of its files in the folder layout, else 0.
    """
    return dict(sample_id=metadata['sample_id'], text=metadata.get('text', ''), score=metadata.get('score'),
                rank=metadata.get('rank'), kept=metadata.get('kept'), bytes=num_bytes, problem='',
                metadata=json.dumps(metadata, sort_keys=True))


def problem_row(sample_id: str, problem: str, source: str | None = None) -> Row:
    """Return the row of an object that could not be stored.

    Args:
        sample_id: Name of the object.
        problem: Why it could not be stored.
        source: Fingerprint of the files it should have been made from.
    """
    metadata = {} if source is None else dict(source=source)
    return dict(sample_id=readable_text(sample_id), text='', score=None, rank=None, kept=None, bytes=0,
                problem=readable_text(problem), metadata=json.dumps(metadata))


def write_manifest(path: Path, rows: Sequence[Row], facts: dict[str, str]) -> None:
    """Write the rows and the facts about the whole shard; equal rows give equal bytes."""
    import pyarrow as pa
    from pyarrow import parquet
    table = pa.Table.from_pylist(list(rows), _schema()).replace_schema_metadata(facts)
    contents = io.BytesIO()  # pyarrow's own writing raises errors without an errno
    parquet.write_table(table, contents)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(contents.getvalue())


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a shard. Raises ValueError that names the file if it is damaged."""
    from pyarrow import parquet
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
        rows = table.select([field.name for field in _schema()]).to_pylist()
        facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    except Exception as error:  # pyarrow raises many types, and OSError without a name
        if is_error_of_machine(error):
            raise
        problem = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'the manifest {path} cannot be read ({problem}); remove it and run the command that made it '
                         'again') from error
    return Manifest(rows, facts)


def _schema():
    import pyarrow as pa
    return pa.schema([
        ('sample_id', pa.string()), ('text', pa.string()), ('score', pa.float64()), ('rank', pa.int64()),
        ('kept', pa.bool_()), ('bytes', pa.int64()), ('problem', pa.string()), ('metadata', pa.string())])
