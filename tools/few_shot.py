#!/usr/bin/env python
"""Classify with a few labeled objects per class: ``python tools/few_shot.py CONFIG CHECKPOINT --shots 1 2 4 8 16``.

Fits a logistic regression to the view features of both encoders of a few training objects, drawn anew for each seed,
and sums its logits over the views of each test object. Writes few_shot.md, few_shot.csv and few_shot.png.

The test objects are those of test_dataloader. The training objects are those of train_dataloader, read with the test
pipeline, or with --train those of the test dataset under other settings, which is how a benchmark is split:

    python tools/few_shot.py configs/opendlign_tiny.py work_dirs/opendlign_tiny/epoch_10.pth
    python tools/few_shot.py configs/benchmarks/opendlign_h14_modelnet40_points.py CHECKPOINT \\
        --train ann_file=modelnet40_train.txt
"""
import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config, DictAction
from tqdm import tqdm

from opendlign_mm.apis import init_model
from opendlign_mm.apis.extract_features import describe_skipped, extract_features
from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.options import add_common_options, load_config
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.evaluation.few_shot import FewShotResult, classify_few_shot, draw_shots, summarize
from opendlign_mm.models.zero_shot_head import select_views
from opendlign_mm.visualization.few_shot_plot import draw_few_shot_plot


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of an OpenDlign model')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of an aligned model; may be left out')
    parser.add_argument('--shots', type=int, nargs='+', default=[1, 2, 4, 8, 16], help='training objects per class')
    parser.add_argument('--seeds', type=int, default=10, help='how many draws of the training objects')
    parser.add_argument('--train', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings that turn the test dataset into the training one, e.g. split=train')
    parser.add_argument('--inverse-regularization', type=float, default=1., metavar='C',
                        help="C of scikit-learn's LogisticRegression")
    parser.add_argument('--out', type=Path, help='folder of the files; default few_shot in the work directory')
    parser.add_argument('--batch-size', type=int, default=32, help='objects encoded at a time')
    parser.add_argument('--num-workers', type=int, default=2, help='processes that read objects')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_common_options(parser)
    return parser.parse_args()


def training_set(cfg: Config, changes: dict):
    """The dataset of the training objects, with the pipeline of the test set."""
    test = cfg.test_dataloader.dataset
    if changes:
        settings = Config(dict(dataset=test.to_dict()))
        settings.merge_from_dict({f'dataset.{key}': value for key, value in changes.items()})
        return DATASETS.build(settings.dataset)
    if cfg.get('train_dataloader') is None:
        raise ValueError('the config has no train_dataloader; say with --train how the training objects differ from '
                         'the test set, e.g. --train split=train')
    return DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=test.pipeline))


def check_classes(train, test) -> None:
    names = [tuple(dataset.metainfo.get('classes', ())) for dataset in (train, test)]
    if names[0] != names[1]:
        differing = sorted(set(names[0]) ^ set(names[1]))[:5] or ['the order']
        raise ValueError(f'the training and the test set have different classes ({", ".join(differing)}, ...); use '
                         '--train to take both from one dataset, e.g. --train split=train')


def view_features(model, extracted: dict) -> np.ndarray:
    """(N, V, D): each view from the branch that zero-shot classification takes it from."""
    features = {name: torch.from_numpy(values) for name, values in extracted['features'].items()}
    return select_views(features.get('pretrained'), features.get('tuned'), model.embedding_branches).numpy()


def extract_draws(model, dataset, args) -> tuple:
    """Features of all training objects that some draw needs, and the draws as positions among them.

    An object that cannot be read is replaced by another one of its class.
    """
    labels = np.array([dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))])
    smallest = np.bincount(labels)[np.unique(labels)].min()
    if smallest < max(args.shots):
        print(f'{smallest} training objects is all that some class has; it gives these where more shots are asked for')
    parts, skipped, known = [], {}, np.zeros(0, dtype=np.int64)
    while True:
        draws = {(shots, seed): draw_shots(labels, shots, seed, list(skipped))
                 for shots in sorted(set(args.shots)) for seed in range(args.seeds)}
        wanted = np.setdiff1d(np.concatenate(list(draws.values())), known)
        if not len(wanted):
            break
        part = extract_features(model, dataset, wanted, skipped=skipped, batch_size=args.batch_size,
                                num_workers=args.num_workers, title='training objects')
        parts.append((view_features(model, part), part['indices']))
        known = np.concatenate([indices for _, indices in parts])
    print(describe_skipped(skipped), end='\n' * bool(skipped))
    position = {index: row for row, index in enumerate(known)}
    draws = {key: np.array([position[index] for index in chosen]) for key, chosen in draws.items()}
    return np.concatenate([features for features, _ in parts]), labels[known], draws


def zero_shot(model, extracted: dict, class_names) -> float:
    """Top-1 accuracy without any training object, in percent."""
    model.set_vocabulary(class_names)
    features = {name: torch.from_numpy(values) for name, values in extracted['features'].items()}
    with torch.no_grad():
        scores = model.zero_shot_head.scores(**features, features_of_classes=model.class_features().cpu(),
                                             clip_logit_scale=model.backbone.logit_scale.float().exp())
    return float((scores.argmax(dim=1).numpy() == extracted['labels']).mean() * 100)


def write(args, name: str, rows: list, results: list, baseline: float) -> None:
    header = ['0 (zero-shot)', *(str(row['shots']) for row in rows)]
    cells = [f'{baseline:.1f}'] + [f'{row["mean"]:.1f}' + ('' if row['std'] is None else f' ± {row["std"]:.1f}')
                                   for row in rows]
    table = '\n'.join(['| shots per class | ' + ' | '.join(header) + ' |', '|---' * (1 + len(header)) + '|',
                       f'| {name}, top-1 in % | ' + ' | '.join(cells) + ' |'])
    with atomic_write(args.out / 'few_shot.md') as unfinished:
        unfinished.write_text(f'{table}\n\nMean ± standard deviation over {args.seeds} draws of training objects.\n')
    with atomic_write(args.out / 'few_shot.csv') as unfinished, unfinished.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['shots', 'seed', 'top1'])
        writer.writerows([[0, '', baseline]] + [[each.shots, each.seed, each.top1] for each in results])
    draw_few_shot_plot(rows, args.out / 'few_shot.png', baseline, name)
    print(f'{table}\n\nwritten to {args.out}: few_shot.md, few_shot.csv, few_shot.png')


def main() -> None:
    """Extract features, classify each draw, write the results."""
    args = parse_args()
    with user_errors(args.traceback):
        if args.seeds < 1 or min(args.shots) < 1 or args.inverse_regularization <= 0:
            raise ValueError('--seeds and --shots must be >= 1 and --inverse-regularization > 0')
        cfg = load_config(args)
        args.out = args.out or Path(cfg.work_dir) / 'few_shot'
        model = init_model(cfg, args.checkpoint, args.device)
        train, test = training_set(cfg, args.train), DATASETS.build(cfg.test_dataloader.dataset)
        check_classes(train, test)
        train_features, train_labels, draws = extract_draws(model, train, args)
        tested = extract_features(model, test, batch_size=args.batch_size, num_workers=args.num_workers,
                                  title='test objects')
        print(describe_skipped(tested['skipped']), end='\n' * bool(tested['skipped']))
        test_features, results = view_features(model, tested), []
        for (shots, seed), chosen in tqdm(draws.items(), desc='draws'):
            predicted = classify_few_shot(train_features[chosen], train_labels[chosen], test_features,
                                          args.inverse_regularization)
            results.append(FewShotResult(shots, seed, float((predicted == tested['labels']).mean() * 100)))
        name = test.metainfo.get('benchmark', type(test).__name__)
        write(args, name, summarize(results), results, zero_shot(model, tested, test.metainfo['classes']))


if __name__ == '__main__':
    main()
