#!/usr/bin/env python
"""Measure projection, encoding, alignment, detection, search and generation on this machine.

    python tools/benchmark.py --out benchmark.json                       # all suites
    python tools/benchmark.py --suite projection --curves                # growth curves and their plot
    python tools/benchmark.py --suite align --against path/to/OpenDlign  # the authors' model.py as the other side
    python tools/benchmark.py --quick                                    # does everything run? Sizes too small to time

Ours and the compared computation run in turn; medians count. The share of the limit is the least time of the device, by
its measured rate of matrix products or copies, over the measured time. Everything has random weights but the packaged
model: the work is that of the real ones, and nothing is downloaded.
"""
import argparse
import json
from pathlib import Path

import torch

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.benchmarks import SUITES, Settings, curves_of, rows_of
from opendlign_mm.benchmarks.machine import describe_machine
from opendlign_mm.benchmarks.measuring import MIN_PAIRS, named_device
from opendlign_mm.benchmarks.report import as_json, draw_curves, table
from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--suite', nargs='+', choices=[*SUITES, 'all'], default=['all'], help='default: all')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--pairs', type=int, default=MIN_PAIRS, help=f'number of pairs, at least {MIN_PAIRS}')
    parser.add_argument('--threads', type=int, help='CPU threads of PyTorch and numba; default: theirs')
    parser.add_argument('--against', type=Path, metavar='FOLDER',
                        help="the authors' released code; its model.py calls the image tower in the suite align. "
                        'Default: the same computation in our words')
    parser.add_argument('--shapes', type=int, default=Settings.shapes, help='number of shapes in the suite search; '
                        f'from 500,000 on the index is compressed; default: {Settings.shapes:,}')
    parser.add_argument('--clusters', type=int, default=0, help='clusters of their vectors; default: no structure')
    parser.add_argument('--curves', action='store_true', help='measure growth curves, too; a plot next to --out')
    parser.add_argument('--quick', action='store_true', help='smallest sizes, one pair: whether everything runs')
    parser.add_argument('--out', type=Path, metavar='FILE', help='JSON file of the results')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def set_threads(count: int | None) -> None:
    """Limit the threads of PyTorch and numba."""
    if count is None:
        return
    if count < 1:
        raise ValueError(f'--threads must be at least 1, got {count}')
    import numba
    torch.set_num_threads(count)
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))


def main() -> None:
    args = parse_args()
    with user_errors(args.traceback):
        set_threads(args.threads)
        settings = Settings(named_device(args.device), args.pairs, args.quick, args.against, args.shapes,
                            args.clusters)
        suites = SUITES if 'all' in args.suite else tuple(dict.fromkeys(args.suite))
        machine, rows, curves = describe_machine(settings.device, args.quick), [], []
        print(json.dumps(machine, indent=1))

        def save() -> None:  # what is measured is kept if a later row or suite fails or is stopped
            if args.out:
                with atomic_write(args.out) as unfinished:
                    unfinished.write_text(json.dumps(as_json(machine, rows, curves), indent=1))

        for suite in suites:
            for row in rows_of(suite, settings):
                print(table([row]).splitlines()[-1], flush=True)
                rows.append(row)
                save()
            for curve in curves_of(suite, settings) if args.curves else ():
                print(f'{curve.what}: ' + ', '.join(f'{size:,} {curve.size} {seconds:.3g} s' for size, seconds in
                                                    zip(curve.sizes, curve.seconds, strict=True)), flush=True)
                curves.append(curve)
            save()
        print('\n' + table(rows))
        if curves and args.out:
            print(f'curves: {draw_curves(curves, args.out.with_suffix(".png"))}')


if __name__ == '__main__':
    main()
