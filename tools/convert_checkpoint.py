#!/usr/bin/env python
"""Convert checkpoints of other releases to this project's, and back.

    python tools/convert_checkpoint.py opendlign released.pt opendlign_b32.pth --config configs/opendlign_b32.py
    python tools/convert_checkpoint.py opendlign epoch_10.pth released.pt --config configs/opendlign_b32.py --to-release
    python tools/convert_checkpoint.py 3detr scannet_masked_ep1080.pth 3detr_m.pth --config configs/3detr_m_scannet.py
"""
import argparse
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

import opendlign_mm
from opendlign_mm.apis import init_model, load_foreign_checkpoint
from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.models.released import from_released, load_whole, to_released, whole_state_dict


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest='kind', required=True)
    for name, layout, example in (('opendlign', "OpenDlign's release: {'model_state_dict': ...}", 'opendlign_b32'),
                                  ('3detr', "3DETR's release: {'model': ...}", '3detr_m_scannet')):
        kind = kinds.add_parser(name, help=layout)
        kind.add_argument('source', help='the checkpoint to read')
        kind.add_argument('destination', help='the checkpoint to write')
        kind.add_argument('--config', required=True, help=f'config of the model, e.g. configs/{example}.py')
        kind.add_argument('--to-release', action='store_true',
                          help="write the release's layout from a checkpoint of this project")
        kind.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes to the config as key=value')
    kinds.choices['opendlign'].add_argument(
        '--trained-only', action='store_true',
        help='leave the frozen CLIP out; tools/test.py then takes it from the weights that the config names, and '
        'refuses any that differ')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def opendlign_from_release(args: argparse.Namespace) -> None:
    """Read the release's layout; every entry of the model must be there."""
    converted, left_out = from_released(load_foreign_checkpoint(args.source, 'model_state_dict'))
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    label = cfg.model.backbone.get('pretrained')
    cfg.model.backbone.pretrained = None  # the checkpoint holds the CLIP
    init_default_scope('mmdet3d')
    model = MODELS.build(cfg.model)
    left_out += load_whole(model, converted)
    model.backbone.pretrained_label = label or Path(args.source).name
    for key in left_out:
        print(f'not placed: {key}')
    state_dict = model.state_dict() if args.trained_only else whole_state_dict(model)
    meta = dict(opendlign_mm=opendlign_mm.__version__, source=Path(args.source).name, config=Path(args.config).name)
    with atomic_write(args.destination) as unfinished:
        torch.save(dict(meta=meta, state_dict=state_dict), unfinished)
    print(f'{len(converted)} entries placed, {len(left_out)} not placed -> {args.destination}: '
          f'{model.backbone.clip_identity()}')


def opendlign_to_release(args: argparse.Namespace) -> None:
    """Write the release's layout, CLIP included."""
    model = init_model(args.config, args.source, cfg_options=args.cfg_options)
    released = to_released(model)
    with atomic_write(args.destination) as unfinished:
        torch.save(dict(model_state_dict=released), unfinished)
    print(f"{len(released)} entries in the release's layout -> {args.destination}")


def main() -> None:
    args = parse_args()
    with user_errors(args.traceback):
        if args.kind == '3detr':
            # With it come mmdet3d's models, for which the other conversion need not wait.
            from opendlign_mm.apis.convert_checkpoint import convert_3detr
            convert_3detr(args, load_foreign_checkpoint)
        else:
            (opendlign_to_release if args.to_release else opendlign_from_release)(args)


if __name__ == '__main__':
    main()
