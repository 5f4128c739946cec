"""Name single objects: meshes and point clouds, files or whole folders.

  opendlign classify chair.obj table.ply --classes "chair,table,lamp"
  opendlign classify 'models/**/*.stl' --classes words.txt --out result
  torchrun --nproc-per-node 4 -m opendlign_mm classify shapes/ --parquet labels
"""
import argparse
from pathlib import Path

from ..results import (
    add_classes_option,
    add_json_option,
    add_model_options,
    add_templates_option,
    add_views_option,
    chosen_classes,
    chosen_model,
    note,
    print_json,
    print_table,
    report_failed_inputs,
    report_failures,
    results_alone,
)
from ..sharded import add_launcher_option, number_of_processes, run_on_shards


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('inputs', nargs='+', metavar='FILE', help='file, folder, pattern or address')
    add_classes_option(parser, 'modelnet40, of which the demonstration model takes the words that it knows')
    add_model_options(parser)
    add_views_option(parser)
    add_templates_option(parser)
    parser.add_argument('--top', type=int, default=5, help='number of names for each object (default 5)')
    parser.add_argument('--up', choices=['auto', 'z', 'y'], default='auto',
                        help='upward axis of the files; default: that of their format')
    parser.add_argument('--dims', type=int, help='values of a point in .bin files')
    parser.add_argument('--batch-size', type=int, default=8, help='number of objects at a time')
    parser.add_argument('--out', metavar='FOLDER', help='write pictures and a page here')
    parser.add_argument('--parquet', metavar='FOLDER', type=Path, help='write the labels as Parquet files, for any '
                        'number of files: a stopped run goes on, several processes share the work')
    add_launcher_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Classify the inputs."""
    if args.parquet and (args.out or args.json):
        raise ValueError('--parquet replaces --out and --json: give one of them')
    if args.parquet:
        return _write_labels(args)
    if number_of_processes() > 1:
        raise ValueError('several processes classify into Parquet files: give --parquet FOLDER')
    with results_alone():
        from ...apis.shape_inferencer import ShapeInferencer
        classes = chosen_classes(args)
        inferencer = ShapeInferencer(**chosen_model(args))
        predictions = inferencer(
            args.inputs, classes=classes, batch_size=args.batch_size, top_k=args.top, up=args.up,
            out_dir=args.out or '', **({} if args.dims is None else dict(dims=args.dims)))['predictions']
    if args.json:
        print_json(predictions)
    else:
        good = [prediction for prediction in predictions if 'labels' in prediction]
        print_table(['file', 'label', 'score', 'or'], [
            (each['input'], each['labels'][0], f'{each["scores"][0]:.2f}', ', '.join(
                f'{label} {score:.2f}' for label, score in zip(each['labels'][1:], each['scores'][1:], strict=True)))
            for each in good])
    if args.out:
        note(f'pictures and a page: {args.out}')
    return report_failures(predictions)


def _write_labels(args: argparse.Namespace) -> int:
    """Write a row of each input: its labels, best first, and their scores."""
    with results_alone():
        import pyarrow as pa

        fields = [('labels', pa.list_(pa.string())), ('scores', pa.list_(pa.float32()))]
        result = run_on_shards(
            args, chosen_model(args), args.parquet, fields,
            lambda row: dict(labels=row['labels'], scores=row['scores']), up=args.up, top_k=args.top,
            classes=chosen_classes(args),
            **({} if args.dims is None else dict(dims=args.dims)))
        if result is None:  # the first process reports
            return 0
    note(f'labels of {result.num_inputs - len(result.failed)} files: {args.parquet}')
    return report_failed_inputs(result.failed, result.num_inputs)
