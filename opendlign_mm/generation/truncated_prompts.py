"""Noticing that a text encoder did not read a prompt to its end."""
import inspect
import logging
from contextlib import contextmanager
from typing import Callable, Iterator, List


@contextmanager
def noticing_truncation(encode: Callable) -> Iterator[List[str]]:
    """Collect what diffusers and transformers warn of too long prompts within the block, in place of their logging it.

    They warn of each prompt, which is a line for each of many thousand texts.

    Args:
        encode: ``encode_prompt`` of a pipeline.
    """
    warnings: List[str] = []

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        too_long = 'truncated because' in message
        if too_long:
            warnings.append(message)
        return not too_long and 'Token indices sequence length' not in message

    loggers = [logging.getLogger(inspect.unwrap(getattr(encode, '__func__', encode)).__module__),
               logging.getLogger('transformers.tokenization_utils_base')]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield warnings
    finally:
        for logger in loggers:
            logger.removeFilter(keep)
