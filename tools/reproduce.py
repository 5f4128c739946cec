#!/usr/bin/env python
"""Reproduce tables of the paper: run what is there, skip what is missing with the reason, compare with the figures.

    python tools/reproduce.py --list                                     # tables, rows and what is present
    python tools/reproduce.py table1 --data-root DATA --checkpoints DIR
    python tools/reproduce.py --data built-in --jobs 2                   # demonstration on two cores, no download

Writes TABLE.md, TABLE.csv and TABLE.json to the output folder, and a plot for tables 2 and 11. Finished rows are kept,
and an interrupted training resumes: run it again to go on. The exit status is 1 if a command failed.
"""
import argparse
import signal
import sys
from pathlib import Path

from opendlign_mm.command_line.built_in_tables import demonstration_of
from opendlign_mm.command_line.paper_tables import rows_of
from opendlign_mm.command_line.reproduction import Reproduction, reproduce
from opendlign_mm.command_line.reproduction_page import write_page
from opendlign_mm.command_line.reproduction_results import (
    entries_of,
    table_text,
    with_earlier_entries,
    write_tables,
)
from opendlign_mm.command_line.table_rows import TABLES, Row, Training, chosen_rows
from opendlign_mm.command_line.user_errors import user_errors

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('tables', nargs='*', metavar='TABLE', help='such as table1 or 1; default: all')
    parser.add_argument('--list', action='store_true', help='list the rows and whether their inputs are present')
    parser.add_argument('--page', type=Path, metavar='FILE',
                        help='write the page with all rows and the figures in --out, and a .json beside it that keeps '
                        'the figures for the next time')
    parser.add_argument('--rows', nargs='+', default=[], metavar='ROW',
                        help='methods, or full names of rows as --list shows them; default: all')
    parser.add_argument('--data', choices=['paper', 'built-in'], default='paper',
                        help="the paper's datasets and models, or built-in data and demonstration models")
    parser.add_argument('--data-root', type=Path, default=Path('data'),
                        help='folder in the place of data/ in the configs')
    parser.add_argument('--checkpoints', type=Path, default=Path('checkpoints'), help='folder of checkpoints')
    parser.add_argument('--templates', type=Path, metavar='FILE',
                        help="templates.json of the authors' code, for the prompts of OpenDlign; default: that in the "
                        'folder of their data, or else the prompts of this project')
    parser.add_argument('--seeds', type=int, help='draws of few-shot classification; default 10, built-in 3')
    parser.add_argument('--jobs', type=int, default=1, help='number of commands that run at a time')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/reproduce'), help='folder of results')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def main() -> None:
    """List or reproduce the tables."""
    args = parse_args()
    built_in = args.data == 'built-in'
    data_root = args.data_root if args.data_root == Path('data') else args.data_root.resolve()
    with user_errors(args.traceback):
        for name in ('jobs', 'seeds'):
            if getattr(args, name) is not None and getattr(args, name) < 1:
                raise ValueError(f'--{name} must be >= 1, got {getattr(args, name)}')
        if args.page:
            print(*write_page(args.page, args.out), sep='\n')
            return
        place = Reproduction(ROOT, args.out.resolve() / args.data, args.checkpoints.resolve(), data_root, args.seeds,
                             args.templates, jobs=args.jobs)
        tables = [name.lower().removeprefix('table') for name in args.tables] or list(TABLES)
        all_rows = {table: demonstration_of(table) if built_in else rows_of(table) for table in dict.fromkeys(tables)}
        chosen = chosen_rows(all_rows, args.rows)
        if args.list:
            for table, rows in chosen.items():
                list_rows(table, rows, place)
            return
        finished = [run_table(table, rows, all_rows[table], place, built_in) for table, rows in chosen.items()]
    sys.exit(0 if all(finished) else 1)


def print_now(text: str) -> None:
    """Print a line at once, also to a file."""
    print(text, flush=True)


def list_rows(table: str, rows: list[Row], place: Reproduction) -> None:
    """Print the rows of a table with their configs, and which input is missing."""
    print(f'\nTable {table}: {TABLES[table]}')
    for row in rows:
        for run in row.runs:
            trained = isinstance(run.checkpoint, Training)
            ready = f'ready; configs/{run.checkpoint.config} is trained' if trained else 'ready'
            print(f'  {row.name} | {run.column} | configs/{run.config} | {place.missing(run) or ready}')


def run_table(table: str, rows: list[Row], all_rows: list[Row], place: Reproduction, built_in: bool) -> bool:
    """Reproduce rows of a table; return whether no command failed."""
    print(f'\nTable {table}: {TABLES[table]}', flush=True)
    entries = entries_of(table, reproduce(rows, place, f'table {table}', print_now), built_in)
    finished = all(entry['state'] != 'failed' for entry in entries)
    entries = with_earlier_entries(entries, all_rows, place.out / f'table{table}.json')
    print(table_text(entries, built_in))
    print(*write_tables(entries, place.out, table, built_in), sep='\n')
    return finished


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the commands are ended, too
    main()
