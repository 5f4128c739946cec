#!/usr/bin/env python
"""Find shapes by text, by image, or by both: build an index of shapes, then query it.

    python tools/retrieve.py build CONFIG CHECKPOINT --data shapes/ --out index/
    python tools/retrieve.py query index/ --text "a chair with arms" --top 5 --save gallery.png
    torchrun --nproc-per-node 4 tools/retrieve.py build CONFIG CHECKPOINT --data shapes/ --out index/
    srun --ntasks 16 python tools/retrieve.py build CONFIG CHECKPOINT --data shapes/ --out index/ --launcher slurm

--data is a folder with one sub-folder of shape files per class, or 'test' for the test set of the config. A query with
both --text and --image searches for their normalized mean. A build that is stopped goes on where it was. From 500,000
shapes on, the index is compressed.
"""
import argparse
from contextlib import ExitStack
from pathlib import Path

import torch
from mmdet3d.registry import DATASETS
from mmengine.registry import init_default_scope

from opendlign_mm.apis import init_model
from opendlign_mm.command_line.options import add_common_options, load_config
from opendlign_mm.command_line.required_inputs import require_inputs
from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    build = commands.add_parser('build', help='embed shapes and write an index')
    build.add_argument('config', help='config of an OpenDlign model or of a compared system')
    build.add_argument('checkpoint', nargs='?', help='checkpoint of an aligned model; default CLIP without alignment')
    build.add_argument('--data', default='test', help="folder of shapes, or 'test' for the test set of the config")
    build.add_argument('--out', type=Path, required=True, help='folder of the index')
    build.add_argument('--overwrite', action='store_true', help='replace an existing index')
    build.add_argument('--num-points', type=int, default=10000, help='number of points taken of each file')
    build.add_argument('--up-axis', choices=['y', 'z'], help="upward axis of the files; default that of their format")
    build.add_argument('--batch-size', type=int, default=32, help='number of shapes embedded at a time')
    build.add_argument('--num-workers', type=int, default=2, help='number of processes that read shapes')
    add_common_options(build)
    query = commands.add_parser('query', help='search an index')
    query.add_argument('index', type=Path, help='folder that build wrote')
    query.add_argument('--text', help='words to search for')
    query.add_argument('--image', type=Path, help='image to search for')
    query.add_argument('--top', type=int, default=5, help='number of shapes to find')
    query.add_argument('--save', type=Path, help='PNG file of the results')
    query.add_argument('--templates', default='{}', help="prompt templates: one with {}, 'depth', 'imagenet' or a JSON "
                       'file; default the text alone')
    query.add_argument('--traceback', action='store_true', help='show where an error was raised')
    for command in (build, query):
        command.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


def build(args: argparse.Namespace) -> None:
    """Embed the shapes and write the index."""
    from opendlign_mm.apis.extract_features import describe_skipped
    from opendlign_mm.apis.sharded_run import joined_processes
    from opendlign_mm.processes import on_first_process, say
    from opendlign_mm.retrieval import shape_folder_dataset, write_index
    from opendlign_mm.retrieval.index_files import building_index, config_as_json
    with joined_processes(args.launcher) as device, ExitStack() as stack:
        on_first_process(lambda: stack.enter_context(building_index(args.out, args.overwrite)))
        cfg = load_config(args)
        config_as_json(cfg)  # refuses a config that the index could not keep
        if args.data == 'test':
            require_inputs(cfg, 'test_dataloader')
            settings = cfg.test_dataloader.dataset
        else:
            settings = shape_folder_dataset(cfg, args.data, args.num_points, args.up_axis)
        init_default_scope(cfg.get('default_scope', 'mmdet3d'))
        dataset = DATASETS.build(settings)  # before the model: what is wrong with it is told at once
        model = init_model(cfg, args.checkpoint, device if args.device == 'cuda' else args.device)
        result = write_index(model, dataset, args.out, args.checkpoint, batch_size=args.batch_size,
                             num_workers=args.num_workers, settings=dict(dataset_config=settings))
        skipped = describe_skipped(dict(enumerate(problem for _, problem in result.failed)))
        say('\n'.join([skipped] * bool(skipped) + [f'{result.num_inputs - len(result.failed)} shapes in {args.out}']))


def query(args: argparse.Namespace) -> None:
    """Search the index; print and draw the results."""
    from opendlign_mm.models.prompts import resolve_templates
    from opendlign_mm.retrieval import ShapeIndex, embed_query, model_of_index
    if args.text is None and args.image is None:
        raise ValueError('give --text, --image or both')
    index = ShapeIndex.load(args.index)
    print(index.describe())
    model = model_of_index(index, args.device)
    vector = embed_query(model, args.text, args.image, resolve_templates(args.templates))
    (cosines, ), (rows, ) = index.search(vector, args.top)
    shapes = [index.shapes[row] for row in rows]
    for rank, (cosine, shape) in enumerate(zip(cosines, shapes, strict=True), 1):
        print(f'{rank:3d}  {cosine:.3f}  {shape.get("category", ""):20s}  {shape.get("sample_id", "")}')
    if args.save:
        draw(args, model, index.thumbnails[rows], cosines, shapes)


def draw(args: argparse.Namespace, model, thumbnails, cosines, shapes: list) -> None:
    """Draw the results next to the query."""
    from opendlign_mm.retrieval.query import read_image
    from opendlign_mm.visualization.sheets import draw_gallery
    titles = [f'{rank}. {shape.get("category") or shape.get("sample_id", "")}\n{cosine:.3f}'
              for rank, (cosine, shape) in enumerate(zip(cosines, shapes, strict=True), 1)]
    image = None
    if args.image:
        image = read_image(args.image, model.clip_backbone.image_size).permute(1, 2, 0).numpy()
    print(draw_gallery(thumbnails, titles, args.save, args.text, image))


def main() -> None:
    """Run ``build`` or ``query``."""
    args = parse_args()
    with user_errors(args.traceback):
        {'build': build, 'query': query}[args.command](args)


if __name__ == '__main__':
    main()
