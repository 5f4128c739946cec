"""Prompts of the images: from the text of an object to the embeddings that a diffusion pipeline takes."""
import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

# OpenDlign, table 6.
MAIN = 'A realistic {}.'
POSITIVE = 'best quality, extremely realistic, very professional, extremely detailed, sharp edge, normal, complete'
NEGATIVE = ('low-resolution, very blurry, unrealistic, worst quality, deep depth of field, large depth of field, '
            'distorted, cropped, unusual, warped, incomplete')


class ImagePrompt(NamedTuple):
    """Description of what an image should show and of what it should not."""
    positive: str
    negative: str


class PromptStyle:
    """Function from the text of an object to the prompt of its images.

    Args:
        main: Sentence with one {} for the text.
        positive: Words after it.
        negative: Words of the negative prompt.

    Raises:
        ValueError: ``main`` does not have exactly one {}.
    """

    def __init__(self, main: str = MAIN, positive: str = POSITIVE, negative: str = NEGATIVE) -> None:
        if main.count('{}') != 1:
            raise ValueError(f'main must have one {{}} for the text of the object, got {main!r}')
        self.main, self.positive, self.negative = main, positive, negative

    def __call__(self, text: str) -> ImagePrompt:
        """Return the prompt for ``text``, the name of the CAD model, e.g. its category."""
        return ImagePrompt(f'{self.main.replace("{}", text)} {self.positive}'.strip(), self.negative)


class TextEmbeddings:
    """Embeddings of texts by a pipeline's ``encode_prompt``, each computed once and kept in main memory.

    Each text is encoded alone, so that its embedding does not depend on other texts.

    Args:
        outputs: Names of what ``encode_prompt`` returns, as arguments of the pipeline; None where it is not used.
        max_bytes: Memory of the embeddings to keep; the least recently used ones are dropped.
    """

    def __init__(self, outputs: Sequence[str | None], max_bytes: int) -> None:
        self.outputs, self.max_bytes, self.bytes_kept = tuple(outputs), max_bytes, 0
        self.encoded = self.truncated = 0
        self._kept: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def __call__(self, pipeline: Any, text: str, device: torch.device) -> dict[str, Tensor]:
        """Return the embeddings (1, ...) of a text on the CPU.

        Raises:
            ValueError: ``encode_prompt`` returns another number of values than ``outputs`` names.
        """
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        encode = pipeline.encode_prompt
        options = dict(prompt=text, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False)
        known = inspect.signature(encode).parameters
        with noticing_truncation(encode) as truncated:
            values = encode(**{name: value for name, value in options.items() if name in known})
        if len(values) != len(self.outputs):
            raise ValueError(f'{type(pipeline).__name__}.encode_prompt returns {len(values)} values, prompt_outputs '
                             f'names {len(self.outputs)}: {self.outputs}')
        self.encoded += 1
        if truncated:
            self._report_truncated(text)
        embeddings = {name: value.cpu().clone() for name, value in zip(self.outputs, values, strict=True)
                      if name is not None}
        self._kept[text] = embeddings
        self.bytes_kept += _num_bytes(embeddings)
        while self.bytes_kept > self.max_bytes:
            self.bytes_kept -= _num_bytes(self._kept.popitem(last=False)[1])
        return embeddings

    def _report_truncated(self, text: str) -> None:
        """Warn about the first prompt that is too long; there may be thousands."""
        self.truncated += 1
        if self.truncated == 1:
            print_log('a prompt is longer than the text encoder reads and is truncated (further truncations are not '
                      f'reported): {text!r}', 'current', logging.WARNING)


def _num_bytes(embeddings: dict[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in embeddings.values())


@contextmanager
def noticing_truncation(encode: Callable) -> Iterator[list[str]]:
    """Collect the warnings of diffusers and transformers about too long prompts within the block instead of logging.

    They warn about each prompt, which would be a line for each of many thousand texts.

    Args:
        encode: ``encode_prompt`` of a pipeline.
    """
    warnings: list[str] = []

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
