#!/usr/bin/env python
"""Compare our results with published ones in a table: ``python tools/report.py RESULTS... --published FIGURES``.

RESULTS are results.json files of tools/test.py, or folders that are searched for such files: the work directory of a
model, or work_dirs itself. Of several tests of one checkpoint on one benchmark the last one is used.
"""
import argparse
import sys
from pathlib import Path

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.evaluation.benchmark_table import benchmark_table, load_published, our_rows
from opendlign_mm.evaluation.results import RESULTS_NAME, load_results


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', nargs='+', type=Path, help=f'{RESULTS_NAME} files, or folders with such files')
    parser.add_argument('--published', type=Path,
                        help='JSON file of published figures, as described in configs/benchmarks/README.md')
    parser.add_argument('--methods', nargs='+', help='show only published methods whose names start with one of these')
    parser.add_argument('--out', type=Path, help='Markdown file to write, in addition to printing the table')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def find_results(places: list[Path]) -> list[Path]:
    """Return all files of results, those of each folder from the oldest to the newest."""
    found = []
    for place in places:
        if place.is_dir():
            files = sorted(place.rglob(f'results/{RESULTS_NAME}'), key=lambda path: path.stat().st_mtime_ns)
            if not files:
                raise FileNotFoundError(f'{place} has no results/{RESULTS_NAME}; tools/test.py writes them')
            found += files
        else:
            found.append(place)
    return found


def main() -> None:
    """Read the results, print the table and write it to a file if asked to."""
    args = parse_args()
    with user_errors(args.traceback):
        ours, notes = our_rows([load_results(path) for path in find_results(args.results)])
        published = load_published(args.published) if args.published else []
        if args.methods:
            published = [row for row in published if row.method.lower().startswith(
                tuple(name.lower() for name in args.methods))]
        if not ours:
            raise ValueError('no result is of a zero-shot classification; give those of tests of OpenDlign models')
        table = benchmark_table(ours, published)
        if args.out:
            with atomic_write(args.out) as unfinished:
                unfinished.write_text(table)
        print(table)
        for note in dict.fromkeys(notes):
            print(f'note: {note}', file=sys.stderr)


if __name__ == '__main__':
    main()
