"""Prompts of depth-aligned images (paper, table 6)."""
from typing import NamedTuple

MAIN = 'A realistic {}.'
POSITIVE = 'best quality, extremely realistic, very professional, extremely detailed, sharp edge, normal, complete'
NEGATIVE = ('low-resolution, very blurry, unrealistic, worst quality, deep depth of field, large depth of field, '
            'distorted, cropped, unusual, warped, incomplete')


class ImagePrompt(NamedTuple):
    """What an image is to show and what it is not."""
    positive: str
    negative: str


class PromptStyle:
    """Text of an object -> prompt of its images.

    Args:
        main: With one {} for the text.
        positive: Added after it.
        negative: What to avoid.

    Raises:
        ValueError: ``main`` has no {}.
    """

    def __init__(self, main: str = MAIN, positive: str = POSITIVE, negative: str = NEGATIVE) -> None:
        if main.count('{}') != 1:
            raise ValueError(f'main must have one {{}} for the text of the object, got {main!r}')
        self.main, self.positive, self.negative = main, positive, negative

    def __call__(self, text: str) -> ImagePrompt:
        """``text``: what the CAD model is called, e.g. its category."""
        return ImagePrompt(f'{self.main.replace("{}", text)} {self.positive}'.strip(), self.negative)
