"""What visitors of the page type, and what they are told: words, remarks, and errors without paths of the server."""
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..apis.vocabulary import BUILT_IN, read_vocabulary
from ..file_keys import readable_text

MAX_WORDS = 2000


def parse_words(text: str) -> list[str]:
    """Return the class names that a visitor typed, separated by commas or lines, or those of a built-in vocabulary.

    A name of a file is a word like any other: visitors must not read files of the server.

    Raises:
        ValueError: There are none, or they cannot be told apart; see :func:`.vocabulary.read_vocabulary`.
    """
    if text.strip() in BUILT_IN:
        return read_vocabulary(text.strip())
    words = [word.strip() for word in re.split(r'[,;\n]', text) if word.strip()]
    if not words:
        raise ValueError('type the names of the objects to choose from, separated by commas, for example: chair, table')
    if len(words) > MAX_WORDS:
        raise ValueError(f'{len(words)} words are too many; at most {MAX_WORDS}')
    return read_vocabulary(words)


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect the warnings of the block that are for the visitor: their texts, each once."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        yield notes
    notes += [message for message in dict.fromkeys(str(each.message) for each in caught
                                                   if issubclass(each.category, UserWarning)) if message not in notes]


def message_for_visitors(error: BaseException, paths: Sequence[str] = ()) -> str | None:
    """Return what a visitor is told of an error, without paths of the server; None for a defect of the program."""
    if not isinstance(error, (ValueError, FileNotFoundError)):
        return None
    text = readable_text(str(error))
    for path in paths:
        text = text.replace(path, Path(path).name)
    # What is left of absolute paths keeps its last part.
    return re.sub(r"(?<![\w:/.])/(?:[^\s/'\",:;]+/)+([^\s/'\",:;]*)", r'\1', text)


def guarded(action: Callable, raise_as: Callable[[str], Exception]) -> Callable:
    """Wrap an action of the page: its errors become messages without paths of the server."""

    def run(*arguments: Any) -> Any:
        paths = [argument for argument in arguments if isinstance(argument, str) and os.path.isabs(argument)]
        try:
            return action(*arguments)
        except Exception as error:
            message = message_for_visitors(error, paths)
            if message is None:
                import traceback
                traceback.print_exc()
                message = 'something went wrong on the server; its log says what'
                if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
                    message = 'the memory of the server is full; try a smaller file'
        raise raise_as(message)

    return run
