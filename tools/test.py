#!/usr/bin/env python
"""Test a model: ``python tools/test.py configs/opendlign_tiny.py work_dirs/opendlign_tiny/epoch_10.pth``."""
import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from opendlign_mm.apis import skip_weights_held_by, use_half_precision
from opendlign_mm.command_line.options import add_common_options, add_templates_option, describe_model, load_config
from opendlign_mm.command_line.required_inputs import require_inputs
from opendlign_mm.command_line.user_errors import user_errors

TASKS = ['mono_det', 'multi-view_det', 'lidar_det', 'lidar_seg', 'multi-modality_det']


def parse_args() -> argparse.Namespace:
    """Parse the options of mmdet3d's tools/test.py; the checkpoint may be left out."""
    parser = argparse.ArgumentParser(description='Test (and evaluate) the model of a config')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', nargs='?',
                        help='path of the checkpoint; without one the model is tested as the config makes it: '
                        'CLIP without alignment')
    parser.add_argument('--amp', action='store_true',
                        help="compute in half precision where the device gains by it: precision='auto' of the CLIP")
    parser.add_argument('--show', action='store_true', help='show the predictions in windows')
    parser.add_argument('--show-dir',
                        help='folder for figures of the predictions, inside the log folder of the test unless absolute')
    parser.add_argument('--score-thr', type=float, default=.1, help='lowest score of a box in the figures')
    parser.add_argument('--task', choices=TASKS, default='lidar_det',
                        help='kind of the figures, for configs with a visualizer of mmdet3d')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds for which a figure is shown')
    add_templates_option(parser)
    add_common_options(parser)
    return parser.parse_args()


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Switch on the drawing of predictions, by the visualizer of the config or the one of this package."""
    options = dict(draw=True, score_thr=args.score_thr, show=args.show, wait_time=args.wait_time)
    if args.show_dir:
        options['test_out_dir'] = args.show_dir
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    if cfg.get('visualizer') is None:
        cfg.visualizer = dict(type='FigureVisualizer', vis_backends=[dict(type='LocalVisBackend')])
        hook = dict(type='DrawPredictionsHook')
    if hook.get('type') == 'Det3DVisualizationHook':
        options['vis_task'] = args.task
    cfg.merge_from_dict({'default_hooks.visualization': dict(hook or dict(type='DrawPredictionsHook'), **options,
                                                             _delete_=True)})


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
        if args.amp:
            if not use_half_precision(cfg.model):
                raise ValueError(f"--amp sets precision='auto' of a CLIPDepthBackbone, and {args.config} has none")
        if args.show or args.show_dir:
            draw_predictions(cfg, args)
        require_inputs(cfg, 'test_dataloader')
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.logger.info(describe_model(runner.model))
        runner.test()


if __name__ == '__main__':
    main()
