#!/usr/bin/env python
"""Measure what each part of OpenDlign contributes on the built-in shapes: the rows of the paper's table 4.

    python tools/analysis_tools/ablate.py --seeds 0 1 2 --out work_dirs/ablation

Each seed aligns a model and draws its own unseen objects; the table gives mean and standard deviation over the seeds.
Finished parts are kept; rerun to complete the rest.
"""
import argparse
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.dataset import pseudo_collate
from tqdm import tqdm

from opendlign_mm.apis import init_model
from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.ablation_tables import PART_ROWS
from opendlign_mm.command_line.train_once import train_once
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.datasets.procedural import CATEGORIES
from opendlign_mm.models.prompts import encode_class_names

ROOT = Path(__file__).resolve().parents[2]
# Prompts for photographs, in the words that the demonstration CLIP knows.
PLAIN_TEMPLATES = ('a photo of a {}', 'a picture of a {}', 'an image of one {}', 'a realistic {}')
DATA = dict(complete=0., scans=1.)


class Row(NamedTuple):
    """A row of table 4."""
    contour_aware: bool
    aligned: bool
    depth_texts: bool
    aggregated: bool

    @property
    def branches(self) -> str:
        """Branch that gives the scores: both with aggregation, otherwise the aligned one alone."""
        return 'both' if self.aggregated else 'tuned' if self.aligned else 'pretrained'


ROWS = [Row(*map(bool, switches)) for switches in PART_ROWS]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', type=Path, default=ROOT / 'configs' / 'opendlign_tiny.py')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--checkpoints', type=Path, nargs='+',
                        help='aligned models, one per seed; by default they are trained in the output directory')
    parser.add_argument('--objects', type=int, default=50, help='unseen objects per category')
    parser.add_argument('--plain-templates', nargs='+', default=PLAIN_TEMPLATES,
                        help='prompts of the rows without depth texts')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def other_projection(projection: dict) -> dict:
    """Return PointCLIP V2's projection of the same views at the same resolution."""
    views = {key: projection[key] for key in ('view_angles', 'elevation') if key in projection}
    return {'type': 'RealisticProjection', 'view_angles': tuple(range(30, 330, 30)), **views,
            'output_resolution': projection['resolution']}


def correct_rows(model, seed: int, scan_like: float, objects: int, plain_templates) -> dict[str, float]:
    """Return the top-1 accuracy of each row in percent."""
    head, encode_text = model.zero_shot_head, model.backbone.encode_text
    texts = {False: encode_class_names(encode_text, CATEGORIES, plain_templates),
             True: encode_class_names(encode_text, CATEGORIES, head.templates)}
    hits = {row: [] for row in ROWS}
    for contour_aware in (False, True):
        rows = [row for row in ROWS if row.contour_aware == contour_aware]
        branches = ('pretrained', 'tuned') if any(row.aligned for row in rows) else ('pretrained', )
        projection = model.cfg.projection if contour_aware else other_projection(model.cfg.projection)
        pipeline = [dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=projection),
                    dict(type='PackShapeInputs')]
        data = DATASETS.build(dict(type='BuiltInShapes', split='test', seed=seed, num_per_category=objects,
                                   scan_like=scan_like, pipeline=pipeline))
        loader = torch.utils.data.DataLoader(data, batch_size=32, num_workers=2, collate_fn=pseudo_collate)
        kind = 'contour-aware' if contour_aware else "PointCLIP V2's"
        for batch in tqdm(loader, desc=f'seed {seed}, scan-like {scan_like:.0f}, {kind} projection'):
            batch = model.data_preprocessor(batch)
            labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
            features = model.encode_views(batch['inputs']['depth_views'], branches)
            for row in rows:
                scores = head.scores(texts[row.depth_texts], **features, branches=row.branches)
                hits[row].append(scores.argmax(1).cpu() == labels.cpu())
    return {str(index): 100 * torch.cat(hits[row]).float().mean().item() for index, row in enumerate(ROWS)}


def table(results: dict[str, list]) -> str:
    """Return a Markdown table: the switches of each row, then mean ± standard deviation over the seeds."""
    lines = ['| contour-aware projection | alignment | depth texts | aggregation | ' + ' | '.join(results) + ' |',
             '|---' * (4 + len(results)) + '|']
    for index, row in enumerate(ROWS):
        values = [np.array([seed[str(index)] for seed in seeds]) for seeds in results.values()]
        cells = [f'{value.mean():.1f} ± {value.std(ddof=1 if len(value) > 1 else 0):.1f}' for value in values]
        lines.append('| ' + ' | '.join(['yes' if on else 'no' for on in row] + cells) + ' |')
    return '\n'.join(lines) + '\n'


@torch.no_grad()
def main() -> None:
    args = parse_args()
    with user_errors(args.traceback):
        if args.checkpoints and len(args.checkpoints) != len(args.seeds):
            raise ValueError(f'{len(args.seeds)} seeds need as many checkpoints, got {len(args.checkpoints)}')
        results = {name: [] for name in DATA}
        for index, seed in enumerate(args.seeds):
            with torch.enable_grad():
                checkpoint = args.checkpoints[index] if args.checkpoints else train_once(
                    args.config, args.out / f'seed_{seed}', {'randomness.seed': seed})
            fingerprint = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()[:8]
            model = None
            for name, scan_like in DATA.items():
                path = args.out / f'{name}_seed{seed}_{args.objects}_{fingerprint}.json'
                if not path.exists():
                    model = model or init_model(args.config, checkpoint, args.device)
                    with atomic_write(path) as unfinished:
                        unfinished.write_text(json.dumps(
                            correct_rows(model, seed, scan_like, args.objects, args.plain_templates)))
                results[name].append(json.loads(path.read_text()))
        text = (f'Top-1 in percent, mean ± standard deviation over seeds {args.seeds}, '
                f'{len(args.seeds)} x {args.objects} unseen objects per category\n\n' + table(results))
        with atomic_write(args.out / 'ablation.md') as unfinished:
            unfinished.write_text(text)
        print(f'\n{text}')


if __name__ == '__main__':
    main()
