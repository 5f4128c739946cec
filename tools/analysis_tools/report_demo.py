#!/usr/bin/env python
"""Measure what alignment gains the demonstration model on unseen objects, and detection in unseen rooms.

    python tools/analysis_tools/report_demo.py --seeds 0 1 2 --out work_dirs/report

Trains configs/opendlign_tiny.py twice per seed, with all categories and without four, tests on 1,600 unseen objects,
complete and scan-like, and writes report.json and report.md. Finished parts are kept; rerun to complete the rest.
"""
import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from scipy.stats import binomtest
from tqdm import tqdm

from opendlign_mm.apis import init_model
from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.train_once import train_once
from opendlign_mm.datasets.procedural import CATEGORIES

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'opendlign_tiny.py'
ROOMS = ROOT / 'configs' / 'opendlign_tiny_scannet.py'
HELD_OUT = ('desk', 'sofa', 'cabinet', 'bathtub')  # each resembles a class that is kept: table, chair, door, sink
ROOM_METRICS = ('mAP_0.25', 'mAP_0.50', 'proposals/recall_0.25@64', 'proposals/recall_0.50@64')
AGGREGATIONS = ('softmax_sum', 'sum')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--out', type=Path, default=Path('work_dirs/report'))
    parser.add_argument('--objects', type=int, default=100, help='unseen objects per category')
    parser.add_argument('--held-out-objects', type=int, default=100,
                        help='unseen objects of each category that is held out; more show smaller gains')
    parser.add_argument('--only-held-out', action='store_true', help='skip the trainings on all categories')
    parser.add_argument('--no-rooms', action='store_true', help='skip detection')
    return parser.parse_args()


@torch.no_grad()
def predict(checkpoint: Path, scan_like: bool, objects: int,
            categories: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Return for each unseen object whether it is right: before and after alignment, by each aggregation.

    Returns:
        ``'frozen/<aggregation>'``, ``'aligned/...'``, ``'tuned_only/...'``: 0 or 1 per object, from ten views;
        ``'single/<branch>'``: the fraction of its views that are right on their own.
    """
    model = init_model(str(CONFIG), str(checkpoint), 'cuda' if torch.cuda.is_available() else 'cpu')
    settings = dict(model.cfg.test_dataloader.dataset, num_per_category=objects, scan_like=float(scan_like),
                    categories=categories)
    loader = torch.utils.data.DataLoader(DATASETS.build(settings),
                                         batch_size=32,
                                         num_workers=2,
                                         collate_fn=pseudo_collate)
    model.set_vocabulary(CATEGORIES)
    head, classes = model.zero_shot_head, model.class_features()
    correct = {}
    for batch in tqdm(loader, desc=f'{checkpoint.parent.name}, {"scans" if scan_like else "complete"}'):
        batch = model.data_preprocessor(batch)
        labels = torch.cat([sample.gt_label for sample in batch['data_samples']]).to(classes.device)
        features = model.encode_views(batch['inputs']['depth_views'], ('pretrained', 'tuned'))
        for head.aggregation in AGGREGATIONS:
            for name, branches in (('frozen', 'pretrained'), ('aligned', 'both'), ('tuned_only', 'tuned')):
                scores = head.scores(classes, **features, branches=branches)
                correct.setdefault(f'{name}/{head.aggregation}', []).append(scores.argmax(1) == labels)
        for name, view_features in features.items():
            cosines = view_features @ classes.T
            correct.setdefault(f'single/{name}', []).append((cosines.argmax(-1) == labels[:, None]).float().mean(1))
    return {name: torch.cat(parts).float().cpu().tolist() for name, parts in correct.items()}


def compare(before: list[float], after: list[float]) -> dict:
    """Return top-1 before and after in percent, and the exact McNemar test on the objects where they differ."""
    gained = sum(a > b for a, b in zip(after, before, strict=True))
    lost = sum(a < b for a, b in zip(after, before, strict=True))
    top1 = [100 * sum(values) / len(values) for values in (before, after)]
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.
    return dict(frozen=top1[0], aligned=top1[1], gain=top1[1] - top1[0], p=p, objects=len(before))


def rooms(checkpoint: Path, work_dir: Path) -> dict:
    """Return the AP of detection in the unseen rooms, with proposals from clusters and from the ground truth."""
    if not (ROOT / 'data' / 'rooms' / 'scannet_infos_val.pkl').exists():
        subprocess.run([sys.executable, ROOT / 'tools' / 'make_rooms.py', '--out', ROOT / 'data' / 'rooms'], check=True)
    results = {}
    for name, options in (('clusters', {}), ('ground truth', {'model.proposals.type': 'GroundTruthProposals'})):
        cfg = Config.fromfile(ROOMS)
        cfg.merge_from_dict(options)
        cfg.work_dir, cfg.load_from = str(work_dir), str(checkpoint)
        metrics = Runner.from_cfg(cfg).test()
        results[name] = {key: metrics[key] for key in ROOM_METRICS}
    return results


def write(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text)


def table(report: dict) -> str:
    """Return the report as Markdown."""
    lines = ['| unseen objects | aggregation | seed | frozen CLIP | aligned | gain | p (McNemar) |', '|---' * 7 + '|']
    for row in report['classification']:
        form = '| {data} | `{aggregation}` | {seed} | {frozen:.1f} | {aligned:.1f} | {gain:+.1f} | {p:.1g} |'
        lines.append(form.format(**row))
    lines += ['', '| unseen objects | seed | one view, frozen | one view, tuned |', '|---|---|---|---|']
    lines += [f'| {row["data"]} | {row["seed"]} | {row["pretrained"]:.1f} | {row["tuned"]:.1f} |'
              for row in report['single_view']]
    for seed, results in report.get('rooms', {}).items():
        lines += ['', '| unseen rooms, seed ' + seed + ' | ' + ' | '.join(next(iter(results.values()))) + ' |',
                  '|---' * (1 + len(next(iter(results.values())))) + '|']
        lines += [f'| proposals from {name} | ' + ' | '.join(f'{100 * value:.1f}' for value in metrics.values()) + ' |'
                  for name, metrics in results.items()]
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    args.out.mkdir(parents=True, exist_ok=True)
    report = dict(classification=[], single_view=[], rooms={})
    for seed in args.seeds:
        runs = [(f'seed_{seed}', None, (('complete', False, None), ('scan-like', True, None))),
                (f'seed_{seed}_without_{len(HELD_OUT)}', tuple(c for c in CATEGORIES if c not in HELD_OUT),
                 tuple((f'{data}, {len(HELD_OUT)} classes held out of the alignment', scan_like, HELD_OUT)
                       for data, scan_like in (('complete', False), ('scan-like', True))))]
        for name, trained_on, tests in runs[args.only_held_out:]:
            objects = args.objects if trained_on is None else args.held_out_objects
            options = {'randomness.seed': seed}
            if trained_on is not None:
                options['train_dataloader.dataset.categories'] = list(trained_on)
            checkpoint = train_once(CONFIG, args.out / name, options)
            for data, scan_like, tested_on in tests:
                path = args.out / name / f'{"scan" if scan_like else "complete"}_{objects}.json'
                if not path.exists():
                    write(path, json.dumps(predict(checkpoint, scan_like, objects, tested_on)))
                correct = json.loads(path.read_text())
                for aggregation in AGGREGATIONS:
                    report['classification'].append(dict(data=data, aggregation=aggregation, seed=seed, **compare(
                        correct[f'frozen/{aggregation}'], correct[f'aligned/{aggregation}'])))
                report['single_view'].append(dict(data=data, seed=seed, **{
                    branch: 100 * sum(correct[f'single/{branch}']) / len(correct[f'single/{branch}'])
                    for branch in ('pretrained', 'tuned')}))
            if trained_on is None and not args.no_rooms:
                path = args.out / name / 'rooms.json'
                if not path.exists():
                    write(path, json.dumps(rooms(checkpoint, args.out / name)))
                report['rooms'][str(seed)] = json.loads(path.read_text())
    order = {data: index for index, data in enumerate(dict.fromkeys(row['data'] for row in report['classification']))}
    report['classification'].sort(key=lambda row: (order[row['data']], row['aggregation'], row['seed']))
    report['single_view'].sort(key=lambda row: (order[row['data']], row['seed']))
    write(args.out / 'report.json', json.dumps(report, indent=1) + '\n')
    write(args.out / 'report.md', table(report))
    print(table(report))


if __name__ == '__main__':
    main()
