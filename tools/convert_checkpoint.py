#!/usr/bin/env python
r"""Convert checkpoints of OpenDlign, 3DETR and the compared systems from their releases, and back.

Examples:
    python tools/convert_checkpoint.py opendlign released.pt opendlign_b32.pth --config configs/opendlign_b32.py
    python tools/convert_checkpoint.py opendlign epoch_10.pth released.pt --config configs/opendlign_b32.py --to-release
    python tools/convert_checkpoint.py 3detr scannet_masked_ep1080.pth 3detr_m.pth --config configs/3detr_m_scannet.py
    python tools/convert_checkpoint.py openshape model.pt openshape.pth \
        --config configs/baselines/openshape_pointbert_g14.py
    python tools/convert_checkpoint.py clip2point best_eval.pth clip2point.pth \
        --config configs/baselines/clip2point_b32.py
    python tools/convert_checkpoint.py class_features cat_name_pt_feat.npy modelnet40_g14.npz
"""
import argparse

from mmengine.config import DictAction

from opendlign_mm.apis.convert_checkpoint import (
    convert_3detr,
    opendlign_from_release,
    opendlign_to_clip,
    opendlign_to_release,
)
from opendlign_mm.apis.convert_tri_modal import (
    convert_class_features,
    convert_slip,
    tri_modal_from_release,
    tri_modal_to_release,
)
from opendlign_mm.apis.convert_view_systems import view_system_from_release, view_system_to_release
from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest='kind', required=True)
    for name, layout, example in (('opendlign', "OpenDlign's release: {'model_state_dict': ...}", 'opendlign_b32'),
                                  ('3detr', "3DETR's release: {'model': ...}", '3detr_m_scannet'),
                                  ('pointclip', "PointCLIP's adapter", 'baselines/pointclip_rn101_few_shot'),
                                  ('clip2point', "CLIP2Point's pre-training or few-shot classification",
                                   'baselines/clip2point_b32'),
                                  ('ulip', "ULIP's release, with its CLIP", 'baselines/ulip_pointbert'),
                                  ('openshape', "OpenShape's release", 'baselines/openshape_pointbert_g14'),
                                  ('tamm', "TAMM's release: encoder and adapters", 'baselines/tamm_pointbert_g14')):
        kind = kinds.add_parser(name, help=layout)
        kind.add_argument('source', help='checkpoint to read')
        kind.add_argument('destination', help='checkpoint to write')
        kind.add_argument('--config', required=True, help=f'config of the model, e.g. configs/{example}.py')
        kind.add_argument('--to-release', action='store_true',
                          help="write the release's layout from a checkpoint of this project")
        kind.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes to the config as key=value')
    kinds.choices['opendlign'].add_argument(
        '--to-clip', action='store_true', help='write the CLIP whose last blocks are the tuned ones of a checkpoint of '
        "this project, a file for `pretrained` (combine='shared' or 'direct')")
    kinds.choices['opendlign'].add_argument(
        '--trained-only', action='store_true',
        help='leave the frozen CLIP out; tools/test.py then needs the weights that the config names, and refuses '
        'others')
    kinds.choices['tamm'].add_argument('--image-adapter', metavar='FILE',
                                       help="TAMM's file of the CLIP image adapter, which training needs")
    for name, text in (('slip', "SLIP's weights, which ULIP is aligned with, for open_clip"),
                       ('class_features', "class features that OpenShape publishes (.npy), for class_features of a "
                        'model')):
        kind = kinds.add_parser(name, help=text)
        kind.add_argument('source', help='file to read')
        kind.add_argument('destination', help='file to write')
    kinds.choices['class_features'].add_argument('--names', metavar='FILE', help='JSON list of the objects, for an '
                                                 'array of features without names (Objaverse-LVIS)')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def main() -> None:
    """Convert one checkpoint."""
    args = parse_args()
    with user_errors(args.traceback):
        if args.kind == 'slip':
            return convert_slip(args.source, args.destination)
        if args.kind == 'class_features':
            return convert_class_features(args.source, args.destination, args.names)
        places = args.source, args.destination, args.config, args.cfg_options
        if args.kind in ('ulip', 'openshape', 'tamm'):
            if args.to_release:
                tri_modal_to_release(args.kind, *places)
            else:
                tri_modal_from_release(args.kind, *places, image_adapter=getattr(args, 'image_adapter', None))
        elif args.kind in ('pointclip', 'clip2point'):
            (view_system_to_release if args.to_release else view_system_from_release)(args.kind, *places)
        elif args.kind == '3detr':
            convert_3detr(*places, to_release=args.to_release)
        elif args.to_clip:
            if args.to_release or args.trained_only:
                raise ValueError('--to-clip goes with neither --to-release nor --trained-only')
            opendlign_to_clip(*places)
        elif args.to_release:
            opendlign_to_release(*places)
        else:
            opendlign_from_release(*places, trained_only=args.trained_only)


if __name__ == '__main__':
    main()
