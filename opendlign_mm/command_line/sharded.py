"""Runs of the shape inferencer over any number of files, shared by the processes of torchrun or Slurm."""
import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..apis.sharded_run import ShardedResult


def add_launcher_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        help='what started this process; torchrun and srun are noticed')


def is_first_process() -> bool:
    """Return whether this process speaks for all that a launcher started, before they have joined."""
    return os.environ.get('RANK', '0') == '0'


def number_of_processes() -> int:
    """Return the number of processes that torchrun started."""
    return int(os.environ.get('WORLD_SIZE', 1))


def run_on_shards(args: argparse.Namespace, model: dict, folder: Path, fields: list,
                  select: Callable[[dict], dict], **options: Any) -> 'ShardedResult | None':
    """Call the shape inferencer on ``args.inputs`` and write a row of each to Parquet files.

    Args:
        args: Options ``inputs``, ``batch_size`` and ``launcher``.
        model: ``model``, ``weights``, ``device`` and perhaps ``views`` of the inferencer.
        folder: Folder of the results.
        fields: Names and types of the columns that ``select`` fills.
        select: Returns the columns of a prediction.
        options: Arguments of the inferencer's call, which determine the results.

    Returns:
        The outcome, on the first process; None on the others.
    """
    import pyarrow as pa
    from mmengine.dist import is_main_process

    from ..apis.shape_inferencer import ShapeInferencer
    from ..apis.sharded_run import joined_processes, run_sharded
    from ..models.trained_state import sha256_of_weights
    from ..point_files import list_inputs
    with joined_processes(args.launcher) as device:
        inferencer = ShapeInferencer(**dict(model, device=model['device'] or str(device)), show_progress=False)

        def rows(inputs: list) -> list[dict]:
            predictions = inferencer(inputs, batch_size=args.batch_size, **options)['predictions']
            return [dict(error=each['error']) if 'error' in each else select(each) for each in predictions]

        views = inferencer.model.kinds_of_views
        settings = dict(model=Path(str(inferencer.shape_config.filename or '')).stem,
                        weights=sha256_of_weights(inferencer.model), num_points=inferencer.num_points,
                        **{name: list(value) if isinstance(value, tuple) else value
                           for name, value in options.items()},
                        **({} if views == ('depth', ) else dict(views=list(views))))
        if inferencer.templates is not None:
            settings['templates'] = list(inferencer.model.zero_shot_head.templates)
        result = run_sharded(list_inputs(args.inputs), rows, folder, pa.schema(fields), settings, title='shapes')
        return result if is_main_process() else None
