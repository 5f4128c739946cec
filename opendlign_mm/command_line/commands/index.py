"""Put a folder of shapes into an index, to be searched by text, picture or shape.

  opendlign index shapes/ --out my_index
  torchrun --nproc-per-node 4 -m opendlign_mm index shapes/ --out my_index

Sub-folders give the shapes their categories. It needs: pip install 'opendlign_mm[retrieval]'
"""
import argparse
from contextlib import ExitStack
from pathlib import Path

from ..results import DEFAULT_MODEL, add_model_options, chosen_model, note, report_failed_inputs, results_alone
from ..sharded import add_launcher_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('folder', metavar='FOLDER', help='folder of meshes and point clouds, with any sub-folders')
    parser.add_argument('--out', required=True, type=Path, metavar='INDEX', help='folder of the index')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing index')
    add_model_options(parser)
    parser.add_argument('--up', choices=['auto', 'z', 'y'], default='auto',
                        help='upward axis of the files; default: that of their format')
    parser.add_argument('--batch-size', type=int, default=32, help='number of shapes at a time')
    parser.add_argument('--workers', type=int, default=0, help='number of processes that read shapes')
    add_launcher_option(parser)


def run(args: argparse.Namespace) -> int:
    """Embed the shapes and write the index."""
    with results_alone():
        from mmdet3d.registry import DATASETS
        from mmengine.dist import is_main_process
        from mmengine.registry import init_default_scope

        from ...apis import init_model, resolve_model
        from ...apis.sharded_run import joined_processes
        from ...config_options import read_config
        from ...processes import on_first_process
        from ...retrieval import write_index
        from ...retrieval.index_files import building_index
        chosen = chosen_model(args)
        with joined_processes(args.launcher) as device, ExitStack() as stack:
            on_first_process(lambda: stack.enter_context(building_index(args.out, args.overwrite)))
            config, checkpoint = resolve_model(chosen['model'] or DEFAULT_MODEL, chosen['weights'])
            cfg = read_config(config)
            cfg.projection = shape_projection(cfg)  # kept in the index, for shapes that are searched for
            init_default_scope(cfg.get('default_scope', 'mmdet3d'))
            settings = dict(type='ShapeFolder', data_root=args.folder, any_layout=True,
                            up_axis=None if args.up == 'auto' else args.up, pipeline=shape_pipeline(cfg.projection))
            dataset = DATASETS.build(settings)  # before the model: what is wrong with it is told at once
            model = init_model(cfg, checkpoint, chosen['device'] or device)
            result = write_index(model, dataset, args.out, None if checkpoint is None else str(checkpoint),
                                 batch_size=args.batch_size, num_workers=args.workers,
                                 settings=dict(dataset_config=settings))
            if not is_main_process():
                return 0
    note(f'{result.num_inputs - len(result.failed)} shapes: {args.out}')
    return report_failed_inputs([('shape', reason) for _, reason in result.failed], result.num_inputs)


def shape_projection(cfg) -> dict:
    """Return the projection of a model, as the inferencers choose it."""
    from ...apis.named_configs import projection_of
    from ...models.clip_loading import resolve_model_config
    projection = projection_of(cfg)
    if 'resolution' not in projection:
        backbone = cfg.model.backbone
        clip = resolve_model_config(backbone.clip, backbone.get('model_config'))
        projection['resolution'] = clip['vision_cfg']['image_size']
    return projection


def shape_pipeline(projection: dict) -> list[dict]:
    """Return the transforms that turn a record of a shape file into depth views."""
    return [dict(type='LoadShapePoints', num_points=10000),
            dict(type='ProjectPointsToDepth', projection=dict(projection)), dict(type='PackShapeInputs')]
