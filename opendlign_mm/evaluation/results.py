"""Files with the results of tests: ``results.json`` with the metrics of one test, and tables as CSV."""
import csv
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from ..atomic_files import atomic_write
from ..source_files import read_json

RESULTS_NAME = 'results.json'
REQUIRED = dict(benchmark=str, model=str, metrics=dict)


def results_folder() -> Path | None:
    """Return the folder ``results`` next to the log file of the current run; None if the run has no log file."""
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename).parent / 'results'
    return None


def save_results(path: str | Path, *, benchmark: str, model: str, metrics: dict[str, float],
                 clip: str | None = None, checkpoint: str | None = None) -> Path:
    """Write the results of one test.

    Args:
        path: JSON file to write.
        benchmark: Name of the dataset.
        model: Name of the model, as shown in tables.
        metrics: Metric name -> value, e.g. ``zero_shot/top1`` in percent.
        clip: Name of the CLIP in the model, if there is one.
        checkpoint: Path of the checkpoint; None for a model that was tested without one.
    """
    contents = dict(benchmark=benchmark, model=model, clip=clip, checkpoint=checkpoint,
                    metrics={name: float(value) for name, value in metrics.items()})
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(contents, indent=1) + '\n')
    return Path(path)


def load_results(path: str | Path) -> dict:
    """Read a file that :func:`save_results` wrote.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a file of results; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; tools/test.py writes {RESULTS_NAME} into its work directory')
    contents = read_json(path)
    wrong = [key for key, kind in REQUIRED.items() if not isinstance(contents, dict)
             or not isinstance(contents.get(key), kind)]
    if wrong:
        raise ValueError(f'{path} has no {", ".join(wrong)}: it is not a {RESULTS_NAME} of tools/test.py')
    not_texts = [key for key in ('clip', 'checkpoint') if not isinstance(contents.get(key), str | None)]
    not_numbers = [name for name, value in contents['metrics'].items() if not is_number(value)]
    if not_texts or not_numbers:
        raise ValueError(f'{path} is damaged: {", ".join(not_texts + not_numbers)} has a value of another type than '
                         f'in a {RESULTS_NAME} of tools/test.py')
    return contents


def is_number(value: Any) -> bool:
    """Return whether a value from a JSON file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_csv(path: str | Path, rows: Iterable[Sequence]) -> Path:
    """Write a table as CSV, in which no cell is a formula.

    Spreadsheets run a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula. Class names come from folders
    and files that others made; such a string gets an apostrophe in front, which spreadsheets take as "text".

    Args:
        path: File to write.
        rows: Rows of strings and numbers; ``'-'`` alone and strings that are numbers stay as they are.
    """
    with atomic_write(path) as unfinished, unfinished.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([_without_formula(cell) for cell in row] for row in rows)
    return Path(path)


def _without_formula(cell: Any) -> Any:
    """Put an apostrophe in front of a string that a spreadsheet would run."""
    if not isinstance(cell, str) or not cell.lstrip().startswith(('=', '+', '-', '@')) or cell == '-':
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
