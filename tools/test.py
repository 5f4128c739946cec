#!/usr/bin/env python
"""Test a model: ``python tools/test.py configs/opendlign_tiny.py work_dirs/opendlign_tiny/epoch_10.pth``."""
import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from opendlign_mm.apis import skip_weights_held_by
from opendlign_mm.command_line.options import add_common_options, describe_model, load_config
from opendlign_mm.command_line.required_inputs import require_inputs
from opendlign_mm.command_line.user_errors import user_errors

TASKS = ['mono_det', 'multi-view_det', 'lidar_det', 'lidar_seg', 'multi-modality_det']


def parse_args() -> argparse.Namespace:
    """Options of mmdet3d's tools/test.py; the checkpoint may be left out."""
    parser = argparse.ArgumentParser(description='Test (and evaluate) the model of a config')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', nargs='?',
                        help='path of the checkpoint; without one the model is tested as the config makes it: '
                        'CLIP without alignment')
    parser.add_argument('--show', action='store_true', help='show the predicted boxes')
    parser.add_argument('--show-dir', help='directory for pictures of the predicted boxes, inside the work directory')
    parser.add_argument('--score-thr', type=float, default=.1, help='lowest score of a box in those pictures')
    parser.add_argument('--task', choices=TASKS, default='lidar_det', help='kind of those pictures')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown pictures')
    add_common_options(parser)
    return parser.parse_args()


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Switch the visualization hook of the config on."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise ValueError('--show and --show-dir need default_hooks.visualization in the config, e.g. '
                         "dict(type='Det3DVisualizationHook')")
    hook.update(draw=True, vis_task=args.task, score_thr=args.score_thr, show=args.show, wait_time=args.wait_time)
    if args.show_dir:
        hook.test_out_dir = args.show_dir


def main() -> None:
    """Build the Runner and test."""
    args = parse_args()
    with user_errors(args.traceback):
        cfg = load_config(args)
        if args.checkpoint and not Path(args.checkpoint).is_file():
            raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist; tools/train.py writes checkpoints '
                                    'into its work directory')
        skip_weights_held_by(args.checkpoint, cfg)
        cfg.load_from, cfg.resume = args.checkpoint, False
        if args.show or args.show_dir:
            draw_predictions(cfg, args)
        require_inputs(cfg, 'test_dataloader')
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.logger.info(describe_model(runner.model))
        runner.test()


if __name__ == '__main__':
    main()
