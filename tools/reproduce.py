#!/usr/bin/env python
"""Reproduce tables of the paper: run what is there, skip what is missing with the reason, compare with the figures.

    python tools/reproduce.py --list                                     # tables, rows and what is present
    python tools/reproduce.py table1 --data-root DATA --checkpoints DIR
    python tools/reproduce.py table1 --data built-in                     # demonstration on two cores, no download

Writes TABLE.md, TABLE.csv and TABLE.json to the output folder. Finished rows are kept: run it again to go on.
"""
import argparse
from pathlib import Path

from opendlign_mm.command_line.paper_tables import TABLES, rows_of
from opendlign_mm.command_line.reproduction import Reproduction, reproduce_table, table_text, write_tables
from opendlign_mm.command_line.user_errors import user_errors

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('tables', nargs='*', metavar='TABLE', help='such as table1 or 1; default: all')
    parser.add_argument('--list', action='store_true', help='list the rows and whether their checkpoints are present')
    parser.add_argument('--rows', nargs='+', default=[], metavar='METHOD', help='methods to measure; default: all')
    parser.add_argument('--data', choices=['paper', 'built-in'], default='paper',
                        help="the paper's datasets and models, or built-in data and demonstration models")
    parser.add_argument('--data-root', type=Path, help='folder in the place of data/ in the configs')
    parser.add_argument('--checkpoints', type=Path, default=Path('checkpoints'), help='folder of checkpoints')
    parser.add_argument('--seeds', type=int, help='draws of few-shot classification; default 10, built-in 3')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/reproduce'), help='folder of results')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def main() -> None:
    """List or reproduce the tables."""
    args = parse_args()
    built_in = args.data == 'built-in'
    place = Reproduction(ROOT, args.out.resolve() / args.data, args.checkpoints.resolve(),
                         args.data_root and args.data_root.resolve(), args.seeds)
    with user_errors(args.traceback):
        for table in [name.removeprefix('table') for name in args.tables] or list(TABLES):
            rows = rows_of(table, built_in)
            print(f'\nTable {table}: {TABLES[table]}')
            if args.list:
                for row in rows:
                    for run in row.runs:
                        print(f'  {row.name}, {run.column}: configs/{run.config}, {presence(place, run)}')
            elif not rows:
                print('  no demonstration on built-in data')
            else:
                found = reproduce_table(table, place, built_in, args.rows)
                print(table_text(found, built_in))
                print(*write_tables(found, place.out, f'table{table}', built_in), sep='\n')


def presence(place: Reproduction, run) -> str:
    """Say whether the checkpoint of a run is present."""
    if run.train:
        return 'trained by the command'
    try:
        path = place.checkpoint_of(run)
    except FileNotFoundError as error:
        return str(error)
    return 'needs no checkpoint' if path is None else f'checkpoint {path}'


if __name__ == '__main__':
    main()
