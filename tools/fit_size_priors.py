#!/usr/bin/env python
"""Fit the usual sizes of classes to the annotated boxes of an info file, for ``size_priors`` of the detector.

    python tools/fit_size_priors.py data/scannet/scannet_infos_train.pkl --out sizes.json
    python tools/test.py configs/opendlign_h14_scannet.py CHECKPOINT --cfg-options model.size_priors=sizes.json
    python tools/fit_size_priors.py --built-in --out sizes.json   # of built-in objects: the file of the package

Take the training scenes: with them a detection has seen annotated boxes, and is no longer zero-shot. Sizes of your own
are a JSON file, too: {"chair": [0.5, 0.5, 0.9]}, the longer horizontal side, the other one and the height in meters.
"""
import argparse
import json
from pathlib import Path

import numpy as np

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('infos', type=Path, nargs='?', help="info file of mmdet3d's version 2")
    source.add_argument('--built-in', action='store_true', help='take scan-like built-in objects')
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def annotated_sizes(infos: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the sizes (M, 3) of all annotated boxes of an info file, their labels and the names of the classes."""
    from opendlign_mm.datasets.scene_datasets import read_info_file
    contents = read_info_file(infos)
    categories = contents['metainfo'].get('categories')
    if not categories:
        raise ValueError(f'{infos} does not name its classes (metainfo.categories)')
    instances = [instance for info in contents['data_list'] for instance in info.get('instances', ())]
    if not instances:
        raise ValueError(f'{infos} has no annotated box')
    labels = np.array([instance['bbox_label_3d'] for instance in instances])
    return np.array([instance['bbox_3d'][3:6] for instance in instances]), labels, list(categories)


def built_in_sizes(objects: int = 100) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the same of scan-like built-in objects, whose hidden parts are missing as in a real scan.

    Args:
        objects: Number of objects of each class.
    """
    from opendlign_mm.datasets.procedural import categories_of, sample_shape
    classes = categories_of(edition=2)
    sizes = [np.ptp(sample_shape(name, np.random.default_rng(seed), 400, scan_like=True, edition=2).points, axis=0)
             for name in classes for seed in range(objects)]
    return np.array(sizes), np.repeat(np.arange(len(classes)), objects), classes


def main() -> None:
    """Fit the sizes and write them."""
    args = parse_args()
    with user_errors(args.traceback):
        from opendlign_mm.detection.size_priors import fit_size_priors
        sizes, labels, classes = built_in_sizes() if args.built_in else annotated_sizes(args.infos)
        fitted = fit_size_priors(sizes, labels, classes)
        with atomic_write(args.out) as unfinished:
            unfinished.write_text(json.dumps(fitted, indent=1) + '\n')
        for name, entry in fitted.items():
            print(f'{name}: {" x ".join(f"{side:.2f}" for side in entry["mean"])} m, {entry["count"]} boxes')
        absent = [name for name in classes if name not in fitted]
        print(f'{args.out}: {len(fitted)} classes' + (f'; no boxes of {", ".join(absent)}' if absent else ''))


if __name__ == '__main__':
    main()
