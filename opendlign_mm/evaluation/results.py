"""The file ``results.json``, which keeps the metrics of a test with its benchmark, model and checkpoint."""
import json
import logging
from pathlib import Path

from mmengine.logging import MMLogger

from ..atomic_files import atomic_write

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
    try:
        contents = json.loads(path.read_text())
    except ValueError as error:  # damaged JSON or damaged UTF-8
        raise ValueError(f'{path} is not JSON: {error}') from error
    wrong = [key for key, kind in REQUIRED.items() if not isinstance(contents, dict)
             or not isinstance(contents.get(key), kind)]
    if wrong:
        raise ValueError(f'{path} has no {", ".join(wrong)}: it is not a {RESULTS_NAME} of tools/test.py')
    return contents
