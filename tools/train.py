#!/usr/bin/env python
"""Train the model of a config: ``python tools/train.py configs/opendlign_tiny.py``."""
import argparse
from contextlib import nullcontext

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from opendlign_mm.apis import use_half_precision
from opendlign_mm.command_line.options import add_common_options, describe_model, load_config
from opendlign_mm.command_line.required_inputs import require_inputs
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.compat import launched_rank
from opendlign_mm.engine import scale_peak_learning_rate, select_autocast, work_dir_lock
from opendlign_mm.models.checkpoints import read_checkpoint


def parse_args() -> argparse.Namespace:
    """Parse the options of mmdet3d's tools/train.py."""
    parser = argparse.ArgumentParser(description='Train the model of a config')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--amp', action='store_true',
                        help='run the forward pass in bfloat16 (CPU and CUDA), with the frozen weights of a CLIP cast '
                        'once where the device gains by it')
    parser.add_argument('--sync_bn', choices=['none', 'torch', 'mmcv'],
                        help='implementation by which BatchNorm layers synchronize across processes (CUDA only); '
                        'default: sync_bn of the config')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate with the batch size, relative to auto_scale_lr.base_batch_size')
    parser.add_argument('--resume', nargs='?', const='auto',
                        help='resume from this checkpoint, or without a path from the latest one in the work directory')
    add_common_options(parser)
    return parser.parse_args()


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write the options of training into the config."""
    if args.amp:
        select_autocast(cfg)
        use_half_precision(cfg.model)
    if args.sync_bn == 'none':
        cfg.sync_bn = None
    elif args.sync_bn is not None:
        if cfg.launcher != 'none' and not torch.cuda.is_available():
            raise ValueError(f'--sync_bn {args.sync_bn} needs CUDA: SyncBatchNorm does not run on the CPU')
        cfg.sync_bn = args.sync_bn
    if args.auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise ValueError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if hook and hook.get('type') == 'CheckpointHook':  # that of mmdet3d's own configs
        hook.type = 'AtomicCheckpointHook'
    if cfg.get('load_from'):
        read_checkpoint(cfg.load_from, mmap=True)  # a damaged file is refused before anything is built


def main() -> None:
    """Build the Runner and train."""
    args = parse_args()
    with user_errors(args.traceback):
        cfg = load_config(args)
        apply_options(cfg, args)
        require_inputs(cfg, 'train_dataloader', 'val_dataloader')
        # Building a Runner already writes to the work directory.
        with work_dir_lock(cfg.work_dir) if launched_rank(cfg.launcher) == 0 else nullcontext():
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
            scale_peak_learning_rate(runner)
            runner.logger.info(describe_model(runner.model))
            runner.train()


if __name__ == '__main__':
    main()
