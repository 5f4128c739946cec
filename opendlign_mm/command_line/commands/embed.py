"""Turn shapes into vectors, files by the million: a stopped run goes on, several processes share the work.

  opendlign embed shapes/ --out vectors           # a folder of Parquet files: index, input, error, embedding
  opendlign embed shapes/ --out vectors.npy       # an array, and the names of its rows in vectors.json
  torchrun --nproc-per-node 4 -m opendlign_mm embed shapes/ --out vectors
"""
import argparse
import json
import shutil
from pathlib import Path

from ..results import add_model_options, chosen_model, note, report_failed_inputs, results_alone
from ..sharded import add_launcher_option, run_on_shards


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('inputs', nargs='+', metavar='FILE', help='file, folder, pattern or address')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='folder of Parquet files, or a name in .npy')
    add_model_options(parser)
    parser.add_argument('--up', choices=['auto', 'z', 'y'], default='auto',
                        help='upward axis of the files; default: that of their format')
    parser.add_argument('--batch-size', type=int, default=8, help='number of shapes at a time')
    add_launcher_option(parser)


def run(args: argparse.Namespace) -> int:
    """Embed the inputs."""
    out = Path(args.out)
    folder = out.with_name(f'.{out.name}.parts') if out.suffix == '.npy' else out
    with results_alone():
        import pyarrow as pa
        fields = [('embedding', pa.list_(pa.float32()))]
        result = run_on_shards(args, chosen_model(args), folder, fields, lambda row: dict(embedding=row['embedding']),
                               up=args.up, embed=True)
        if result is None:  # the first process reports
            return 0
        if out.suffix == '.npy':
            _write_array(folder, out)
            shutil.rmtree(folder)
    note(f'{result.num_inputs - len(result.failed)} vectors: {out}')
    return report_failed_inputs(result.failed, result.num_inputs)


def _write_array(folder: Path, out: Path) -> None:
    """Write the vectors of a run as float32 (N, D), NaN for inputs that failed, and the names of the rows."""
    import numpy as np

    from ...apis.sharded_run import read_parts
    from ...atomic_files import atomic_write
    rows = [row for part in read_parts(folder, ['input', 'error', 'embedding']) for row in part.to_pylist()]
    length = max((len(row['embedding']) for row in rows if row['error'] is None), default=0)
    vectors = [row['embedding'] if row['error'] is None else [np.nan] * length for row in rows]
    with atomic_write(out.with_suffix('.json')) as unfinished:
        unfinished.write_text(json.dumps([dict(input=row['input'], error=row['error']) for row in rows], indent=1))
    with atomic_write(out) as unfinished:
        np.save(unfinished, np.array(vectors, np.float32).reshape(len(rows), length))
