#!/usr/bin/env python
r"""Classify with a few labeled objects per class: ``python tools/few_shot.py CONFIG CHECKPOINT --shots 1 2 4 8 16``.

Fits a logistic regression to the view features of a few training objects, drawn anew for each seed, and sums its
logits over the views of each test object. Writes few_shot.md, few_shot.csv and few_shot.png.

The test objects are those of test_dataloader. The training objects are those of train_dataloader, read with the test
pipeline, or, with --train, those of the test dataset with other settings, e.g. another split of a benchmark. An object
in both is an error. With --holdout the training objects are drawn among the test objects, for benchmarks without a
training split, and each draw is tested on the objects that it leaves:

    python tools/few_shot.py configs/opendlign_tiny.py work_dirs/opendlign_tiny/epoch_10.pth
    python tools/few_shot.py configs/benchmarks/opendlign_h14_modelnet40_points.py CHECKPOINT \
        --train ann_file=modelnet40_train.txt
    python tools/few_shot.py configs/benchmarks/opendlign_h14_omniobject3d.py CHECKPOINT --holdout
"""
import argparse
import sys
from pathlib import Path

import torch
from mmdet3d.registry import DATASETS
from mmengine.config import DictAction

from opendlign_mm.apis import init_model
from opendlign_mm.apis.extract_features import describe_skipped, extract_features
from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.options import add_common_options, add_templates_option, load_config
from opendlign_mm.command_line.required_inputs import require_inputs
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.evaluation.few_shot import FewShotResult, classify_draws, summarize
from opendlign_mm.evaluation.few_shot_objects import (
    check_disjoint,
    draws_of_test_set,
    extract_draws,
    labels_in_test_set,
    training_set,
    view_features,
    zero_shot_accuracy,
)
from opendlign_mm.evaluation.results import write_csv
from opendlign_mm.visualization.plots import draw_few_shot_plot


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of an OpenDlign model or of a compared system')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of an aligned model; default CLIP without alignment')
    parser.add_argument('--shots', type=int, nargs='+', default=[1, 2, 4, 8, 16], help='training objects per class')
    parser.add_argument('--seeds', type=int, default=10, help='number of draws of the training objects')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--train', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings that turn the test dataset into the training dataset, e.g. split=train')
    source.add_argument('--holdout', action='store_true',
                        help='draw the training objects among the test objects and leave each draw out of its test')
    parser.add_argument('--inverse-regularization', type=float, default=1., metavar='C',
                        help='C of the logistic regression')
    parser.add_argument('--solver', choices=['auto', 'scikit-learn', 'torch'], default='auto',
                        help='solver of the logistic regression; auto: torch on a GPU, scikit-learn otherwise')
    parser.add_argument('--out', type=Path, help='folder of the files; default few_shot in the work directory')
    parser.add_argument('--batch-size', type=int, default=32, help='number of objects encoded at a time')
    parser.add_argument('--num-workers', type=int, default=2, help='number of processes that read objects')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_templates_option(parser)
    add_common_options(parser)
    return parser.parse_args()


def write(folder: Path, name: str, results: list[FewShotResult], baseline: float, note: str) -> None:
    """Print the table and write the files."""
    rows = summarize(results)
    header = ['0 (zero-shot)', *(str(row['shots']) for row in rows)]
    cells = [f'{baseline:.1f}'] + [f'{row["mean"]:.1f}' + ('' if row['std'] is None else f' ± {row["std"]:.1f}')
                                   for row in rows]
    table = '\n'.join(['| shots per class | ' + ' | '.join(header) + ' |', '|---' * (1 + len(header)) + '|',
                       f'| {name}, top-1 in % | ' + ' | '.join(cells) + ' |'])
    print(table)
    with atomic_write(folder / 'few_shot.md') as unfinished:
        unfinished.write_text(f'{table}\n\n{note}\n')
    write_csv(folder / 'few_shot.csv', [['shots', 'seed', 'top1'], [0, '', baseline],
                                        *([each.shots, each.seed, each.top1] for each in results)])
    written = 'few_shot.md, few_shot.csv'
    try:
        written += f', {draw_few_shot_plot(rows, folder / "few_shot.png", baseline, name).name}'
    except Exception as error:  # the numbers are more than the figure
        print(f'warning: few_shot.png could not be drawn: {type(error).__name__} {error}', file=sys.stderr)
    print(f'\nwritten to {folder}: {written}')


def main() -> None:
    """Extract features, classify each draw, write the results."""
    args = parse_args()
    with user_errors(args.traceback):
        if args.seeds < 1 or min(args.shots) < 1 or args.inverse_regularization <= 0:
            raise ValueError('--seeds and --shots must be >= 1 and --inverse-regularization > 0')
        cfg = load_config(args)
        require_inputs(cfg, 'test_dataloader')
        test = DATASETS.build(cfg.test_dataloader.dataset)
        if not args.holdout:
            train = training_set(cfg, args.train)
            labels = labels_in_test_set(train, test)
            check_disjoint(train, test)
        model = init_model(cfg, args.checkpoint, args.device)
        loading = dict(batch_size=args.batch_size, num_workers=args.num_workers)
        tested = extract_features(model, test, title='test objects', **loading)
        print(describe_skipped(tested['skipped']), end='\n' * bool(tested['skipped']))
        if args.holdout:
            drawn = draws_of_test_set(model, tested, args.shots, args.seeds)
        else:
            drawn = extract_draws(model, train, labels, args.shots, args.seeds, **loading)
            print(describe_skipped(drawn.skipped), end='\n' * bool(drawn.skipped))
        use_torch = args.solver == 'torch' or args.solver == 'auto' and torch.device(args.device).type != 'cpu'
        results = classify_draws(drawn, view_features(model, tested), tested['labels'], args.inverse_regularization,
                                 args.device if use_torch else None)
        note = f'Mean ± standard deviation over {args.seeds} draws of training objects.' + (
            ' Each draw is tested on the test objects that it leaves, zero-shot on all.' if args.holdout else '')
        write(args.out or Path(cfg.work_dir) / 'few_shot', test.metainfo.get('benchmark', type(test).__name__),
              results, zero_shot_accuracy(model, tested, test.metainfo['classes']), note)


if __name__ == '__main__':
    main()
