"""The file that keeps what a test measured, and of what."""
import json
import logging
from pathlib import Path

from mmengine.logging import MMLogger

from ..atomic_files import atomic_write

RESULTS_NAME = 'results.json'
REQUIRED = dict(benchmark=str, model=str, metrics=dict)


def results_folder() -> Path | None:
    """``results`` beside the log file of the current run; None if it has no log file."""
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename).parent / 'results'
    return None


def save_results(path: str | Path, *, benchmark: str, model: str, metrics: dict[str, float],
                 clip: str | None = None, checkpoint: str | None = None) -> Path:
    """Write the results of one test.

    Args:
        path: JSON to write.
        benchmark: Name of the dataset.
        model: Name of the model, as a table is to call it.
        metrics: Name -> value, as the metrics give them (``zero_shot/top1`` in percent).
        clip: Name of the CLIP inside, if there is one.
        checkpoint: Path of the checkpoint; None for a model as its config makes it.
    """
    contents = dict(benchmark=benchmark, model=model, clip=clip, checkpoint=checkpoint,
                    metrics={name: float(value) for name, value in metrics.items()})
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(contents, indent=1) + '\n')
    return Path(path)


def load_results(path: str | Path) -> dict:
    """Read what :func:`save_results` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is something else; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; tools/test.py writes {RESULTS_NAME} into its work directory')
    try:
        contents = json.loads(path.read_text())
    except ValueError as error:  # broken JSON or broken UTF-8
        raise ValueError(f'{path} is not JSON: {error}') from error
    wrong = [key for key, kind in REQUIRED.items() if not isinstance(contents, dict)
             or not isinstance(contents.get(key), kind)]
    if wrong:
        raise ValueError(f'{path} has no {", ".join(wrong)}: it is not a {RESULTS_NAME} of tools/test.py')
    return contents
