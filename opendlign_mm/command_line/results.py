"""Options and output that the sub-commands of ``opendlign`` share: models, tables for people, JSON for programs."""
import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

DEFAULT_MODEL = 'opendlign-tiny'
VOCABULARIES = 'scannet18, scannet20, scannet200, modelnet40, lvis'


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model and a device."""
    parser.add_argument('--model', help='name (see: opendlign models) or config of a model; default: the demonstration '
                        'model that comes with the package')
    parser.add_argument('--weights', help='checkpoint, if not that of the named model')
    parser.add_argument('--device', help='cpu, cuda or cuda:1; default: a GPU if there is one')


def add_views_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--views``."""
    parser.add_argument('--views', choices=['depth', 'color', 'both'], help='what the model looks at; color needs '
                        'points with colors, both takes depth alone where they have none; default: depth')


def add_classes_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--classes``."""
    parser.add_argument('--classes', metavar='WORDS', help='names separated by commas, a text file with one name a '
                        f'line, or one of {VOCABULARIES}; default: {default}')


def add_templates_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--templates``."""
    parser.add_argument('--templates', metavar='FILE', help="prompts of the classes: a JSON file, FILE#NAME if it has "
                        "several sets as the authors' has, one sentence with {}, 'depth' or 'imagenet'; default: those "
                        'of the model')


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument('--json', action='store_true', help='print the results as JSON instead of a table')


def chosen_model(args: argparse.Namespace) -> dict[str, Any]:
    """Return ``model``, ``weights``, ``device`` and, if given, ``views`` and ``templates`` for an inferencer.

    It says so if it is the demonstration model.
    """
    if args.model is None and args.weights is None:
        note(f'model: {DEFAULT_MODEL}, a small one for demonstration that knows a few kinds of furniture; --model '
             'opendlign-h14 is that of the paper (opendlign models lists all)')
    given = {name: getattr(args, name, None) for name in ('views', 'templates')}
    return dict(model=args.model or DEFAULT_MODEL, weights=args.weights, device=args.device,
                **{name: value for name, value in given.items() if value is not None})


def chosen_classes(args: argparse.Namespace) -> list[str] | None:
    """Return the names that ``--classes`` stands for, refused before a model is built; None: the model's default."""
    from ..apis.vocabulary import read_vocabulary
    return None if args.classes is None else read_vocabulary(args.classes)


def note(text: str) -> None:
    """Print a line for people to the standard error, so that it never mixes with results."""
    print(text, file=sys.stderr)


@contextlib.contextmanager
def results_alone() -> Iterator[None]:
    """Send what libraries print during the block to the standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(value: Any) -> None:
    """Print a value as JSON; arrays become lists."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=lambda item: item.tolist()))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = '') -> None:
    """Print a table: by rich on a terminal, with tabs between the columns in files and pipes."""
    texts = [['' if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *texts]:
            print('\t'.join(' '.join(cell.split()) for cell in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    table = Table(title=title or None, title_justify='left')
    for column in columns:
        table.add_column(column, overflow='fold')
    for row in texts:
        table.add_row(*map(escape, row))
    Console().print(table)


def report_failures(predictions: Sequence[dict]) -> int:
    """List the inputs that failed; return the exit code, 1 if there is one."""
    return report_failed_inputs([(prediction['input'], prediction['error']) for prediction in predictions
                                 if 'error' in prediction], len(predictions))


def report_failed_inputs(failed: Sequence[tuple[str, str]], num_inputs: int) -> int:
    """List (input, reason) of each input that failed; return the exit code, 1 if there is one."""
    for name, reason in failed:
        note(f'failed: {name}: {reason}')
    if failed:
        note(f'{len(failed)} of {num_inputs} inputs failed')
    return 1 if failed else 0
