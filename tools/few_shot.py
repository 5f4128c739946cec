#!/usr/bin/env python
r"""Classify with a few labeled objects per class: ``python tools/few_shot.py CONFIG CHECKPOINT --shots 1 2 4 8 16``.

Fits a logistic regression to the view features of a few training objects, drawn anew for each seed, and sums its
logits over the views of each test object. Writes few_shot.md, few_shot.csv and few_shot.png.

The test objects are those of test_dataloader. The training objects are those of train_dataloader, read with the test
pipeline, or, with --train, those of the test dataset with other settings, e.g. another split of a benchmark:

    python tools/few_shot.py configs/opendlign_tiny.py work_dirs/opendlign_tiny/epoch_10.pth
    python tools/few_shot.py configs/benchmarks/opendlign_h14_modelnet40_points.py CHECKPOINT \
        --train ann_file=modelnet40_train.txt
"""
import argparse
import csv
from pathlib import Path

import torch
from mmdet3d.registry import DATASETS
from mmengine.config import DictAction
from tqdm import tqdm

from opendlign_mm.apis import init_model
from opendlign_mm.apis.extract_features import describe_skipped, extract_features
from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.options import add_common_options, load_config
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.evaluation.few_shot import (
    FewShotResult,
    check_classes,
    classify_few_shot,
    extract_draws,
    summarize,
    training_set,
    view_features,
    zero_shot_accuracy,
)
from opendlign_mm.visualization.plots import draw_few_shot_plot


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of an OpenDlign model')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of an aligned model; default CLIP without alignment')
    parser.add_argument('--shots', type=int, nargs='+', default=[1, 2, 4, 8, 16], help='training objects per class')
    parser.add_argument('--seeds', type=int, default=10, help='number of draws of the training objects')
    parser.add_argument('--train', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings that turn the test dataset into the training dataset, e.g. split=train')
    parser.add_argument('--inverse-regularization', type=float, default=1., metavar='C',
                        help="C of scikit-learn's LogisticRegression")
    parser.add_argument('--out', type=Path, help='folder of the files; default few_shot in the work directory')
    parser.add_argument('--batch-size', type=int, default=32, help='number of objects encoded at a time')
    parser.add_argument('--num-workers', type=int, default=2, help='number of processes that read objects')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_common_options(parser)
    return parser.parse_args()


def write(folder: Path, name: str, num_seeds: int, results: list[FewShotResult], baseline: float) -> None:
    """Write the files and print the table."""
    rows = summarize(results)
    header = ['0 (zero-shot)', *(str(row['shots']) for row in rows)]
    cells = [f'{baseline:.1f}'] + [f'{row["mean"]:.1f}' + ('' if row['std'] is None else f' ± {row["std"]:.1f}')
                                   for row in rows]
    table = '\n'.join(['| shots per class | ' + ' | '.join(header) + ' |', '|---' * (1 + len(header)) + '|',
                       f'| {name}, top-1 in % | ' + ' | '.join(cells) + ' |'])
    with atomic_write(folder / 'few_shot.md') as unfinished:
        unfinished.write_text(f'{table}\n\nMean ± standard deviation over {num_seeds} draws of training objects.\n')
    with atomic_write(folder / 'few_shot.csv') as unfinished, unfinished.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['shots', 'seed', 'top1'])
        writer.writerows([[0, '', baseline]] + [[each.shots, each.seed, each.top1] for each in results])
    draw_few_shot_plot(rows, folder / 'few_shot.png', baseline, name)
    print(f'{table}\n\nwritten to {folder}: few_shot.md, few_shot.csv, few_shot.png')


def main() -> None:
    """Extract features, classify each draw, write the results."""
    args = parse_args()
    with user_errors(args.traceback):
        if args.seeds < 1 or min(args.shots) < 1 or args.inverse_regularization <= 0:
            raise ValueError('--seeds and --shots must be >= 1 and --inverse-regularization > 0')
        cfg = load_config(args)
        model = init_model(cfg, args.checkpoint, args.device)
        train, test = training_set(cfg, args.train), DATASETS.build(cfg.test_dataloader.dataset)
        check_classes(train, test)
        loading = dict(batch_size=args.batch_size, num_workers=args.num_workers)
        drawn = extract_draws(model, train, args.shots, args.seeds, **loading)
        print(describe_skipped(drawn.skipped), end='\n' * bool(drawn.skipped))
        tested = extract_features(model, test, title='test objects', **loading)
        print(describe_skipped(tested['skipped']), end='\n' * bool(tested['skipped']))
        test_features, results = view_features(model, tested), []
        for (shots, seed), chosen in tqdm(drawn.draws.items(), desc='draws'):
            predicted = classify_few_shot(drawn.features[chosen], drawn.labels[chosen], test_features,
                                          args.inverse_regularization)
            results.append(FewShotResult(shots, seed, float((predicted == tested['labels']).mean() * 100)))
        write(args.out or Path(cfg.work_dir) / 'few_shot', test.metainfo.get('benchmark', type(test).__name__),
              args.seeds, results, zero_shot_accuracy(model, tested, test.metainfo['classes']))


if __name__ == '__main__':
    main()
