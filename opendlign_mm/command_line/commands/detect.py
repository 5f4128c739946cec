"""Find and name the objects in scans of rooms.

  opendlign detect scan.ply --classes "chair,table,plant" --out result
  opendlign detect scans/ --proposals 3detr --json > boxes.json

A box is center, size and yaw in the frame and unit of the file.
"""
import argparse

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
    report_failures,
    results_alone,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('inputs', nargs='+', metavar='SCAN', help='file, folder, pattern or address')
    add_classes_option(parser, 'scannet18, of which the demonstration model takes the words that it knows')
    add_model_options(parser)
    add_views_option(parser)
    add_templates_option(parser)
    parser.add_argument('--proposals', help="what finds the boxes: 'clusters' (needs no weights), '3detr' or a config; "
                        'default: what the model has, otherwise clusters')
    parser.add_argument('--score', type=float, default=0., help='lowest score of a box, from 0 to 1')
    parser.add_argument('--max-boxes', type=int, help='largest number of boxes of a scan')
    parser.add_argument('--up', choices=['auto', 'z', 'y'], default='auto', help='upward axis; default: find the floor')
    parser.add_argument('--units', choices=['auto', 'm', 'cm', 'mm'], default='auto', help='unit of the files')
    parser.add_argument('--dims', type=int, help='values of a point in .bin files')
    parser.add_argument('--save-features', metavar='FOLDER', help='keep boxes and features: other words later cost '
                        'no second run')
    parser.add_argument('--load-features', metavar='FOLDER', help='take the boxes and features that were kept')
    parser.add_argument('--out', metavar='FOLDER', help='write pictures, a page and boxes.json here')
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Detect objects in the scans."""
    with results_alone():
        from ...apis.scene_inferencer import SceneInferencer
        classes = chosen_classes(args)
        inferencer = SceneInferencer(proposals=args.proposals, **chosen_model(args))
        options = dict(dims=args.dims, max_boxes=args.max_boxes, save_features=args.save_features,
                       load_features=args.load_features)
        predictions = inferencer(
            args.inputs, classes=classes, score_thr=args.score, up=args.up, units=args.units,
            out_dir=args.out or '', pred_out_file=f'{args.out}/boxes.json' if args.out else '',
            **{name: value for name, value in options.items() if value is not None})['predictions']
    if args.json:
        print_json(predictions)
    else:
        print_table(['file', 'label', 'score', 'center', 'size', 'yaw', 'points'], [
            (each['input'], box['label'], f'{box["score"]:.2f}', _numbers(box['bbox_3d'][:3]),
             _numbers(box['bbox_3d'][3:6]), _numbers(box['bbox_3d'][6:7]), box['num_points'])
            for each in predictions for box in each.get('boxes', ())])
    for each in predictions:
        if 'boxes' in each:
            note(f'{each["input"]}: {len(each["boxes"])} boxes; frame: {each.get("frame", "as given")}')
    if args.out:
        note(f'pages, pictures and boxes.json: {args.out}')
    return report_failures(predictions)


def _numbers(values: list[float]) -> str:
    return ' '.join(f'{value:.2f}' for value in values)
