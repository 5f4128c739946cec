#!/usr/bin/env python
"""Annotate single frames of ScanNet by OV-3DET's protocol: boxes around clusters of the points of a class.

    python tools/make_ov3det_frames.py scannet_frames_25k/ --split val.txt --out ov3det_frames --workers 8
    python tools/make_coda_infos.py ov3det_frames --protocol ov3det_scannet20 --out data/ov3det_scannet20
    python tools/test.py configs/scannet/ov3det_scannet20.py CHECKPOINT

scannet_frames_25k is published with ScanNet, val.txt (757 scans) with OV-3DET's code. The folder has one sub-folder for
each scan, with depth/*.png, color/*.jpg, label/*.png (NYU40 ids), pose/*.txt, intrinsics_depth.txt and
intrinsics_color.txt. The written files are those of OV-3DET's own script. A frame takes about 6 s, and a process about
2 GB, more where a surface is near to the camera. A repeated run makes only the scans that are missing, and until a run
has ended make_coda_infos.py refuses the folder.
"""
import argparse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from tqdm import tqdm

from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.datasets.coda_frames import UNFINISHED
from opendlign_mm.datasets.ov3det_frames import annotate_scan
from opendlign_mm.datasets.scannet_scans import list_scans
from opendlign_mm.processes import only_run


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('scans', help='folder with one sub-folder of frames for each scan')
    parser.add_argument('--split', help='text file with the name of one scan per line; default all scans')
    parser.add_argument('--out', required=True, help='folder of the frames to write')
    parser.add_argument('--workers', type=int, default=1, help='processes that annotate scans')
    parser.add_argument('--seed', type=int, default=0, help='seed of the 50,000 points stored of a frame')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def scan_names(args: argparse.Namespace) -> list[str]:
    """Return the names of the scans to annotate.

    Raises:
        FileNotFoundError: The folder, or a scan of the split, does not exist.
        ValueError: No scans are named, or the folder to write has frames of others.
    """
    names = list_scans(Path(args.scans), Path(args.split) if args.split else None)
    others = sorted({path.stem for path in Path(args.out).glob('*.json')} - set(names))
    if others:
        raise ValueError(f'{args.out} has frames of {len(others)} scans that are not to be annotated, such as '
                         f'{others[0]}; give another folder --out')
    return names


def annotated(names: list[str], args: argparse.Namespace) -> Iterator[dict[str, int] | str]:
    """Annotate scans in ``args.workers`` processes and yield what :func:`annotate_scan` returns, in order."""
    scans = [Path(args.scans) / name for name in names]
    annotate = partial(annotate_scan, out=Path(args.out), seed=args.seed)
    if args.workers == 1:
        yield from map(annotate, scans)
        return
    with ProcessPoolExecutor(args.workers) as pool:
        try:
            yield from pool.map(annotate, scans)
        except BrokenProcessPool as error:
            raise RuntimeError('a process was killed, perhaps for its memory, of which each takes some GB: run the '
                               'command again with fewer --workers, which makes only what is missing') from error


def main() -> None:
    """Annotate the scans; those that cannot be read are skipped, counted and listed."""
    args = parse_args()
    with user_errors(args.traceback):
        if args.workers < 1:
            raise ValueError(f'--workers must be >= 1, got {args.workers}')
        names = scan_names(args)
        with only_run(Path(args.out)):
            unfinished = Path(args.out) / UNFINISHED
            unfinished.touch()
            outcomes = list(tqdm(annotated(names, args), total=len(names), desc='scans'))
            unfinished.unlink()
        problems = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if len(problems) == len(names):
            raise ValueError(f'none of {len(names)} scans is readable, the first: {problems[0]}')
        total = sum((Counter(counts) for counts in outcomes if not isinstance(counts, str)), Counter())
        print(f'{args.out}: {total["boxes"]} boxes in {total["written"]} of {total["frames"]} frames of '
              f'{len(names) - len(problems)} scans; the others have no box, {total["without_pose"]} of them no pose')
        if problems:
            print(f'{len(problems)} of {len(names)} scans are skipped:\n  ' + '\n  '.join(problems))


if __name__ == '__main__':
    main()
