"""Lengths of prompts: whether a CLIP, which cuts off what it does not read, sees all of them and each class name."""
import warnings
from collections.abc import Callable, Sequence

import torch

# Prompts are counted up to so many times the length that the CLIP reads.
LONGEST = 16


class LongPromptsWarning(UserWarning):
    """Warning of prompts whose ends a CLIP does not read."""


def check_prompt_lengths(class_names: Sequence[str], templates: Sequence[str], sentences: Sequence[str],
                         tokenizer: Callable[..., torch.Tensor], context_length: int) -> None:
    """Warn, once for all, of prompts that a CLIP cuts off; refuse them where a class name is cut off.

    Names and templates are counted apart, and only the longest prompt as a whole: 1,000 names in 80 templates are 1,080
    texts. Tokens of CLIP's own tokenizer end where words do, so that the sum is exact.

    Args:
        class_names: Names, in which underscores are spaces.
        templates: Templates with one or more ``{}`` for the name.
        sentences: Prompts without a place for a name.
        tokenizer: Function from N texts and ``context_length`` to int64 tokens (N, context_length).
        context_length: Number of tokens that the CLIP reads, its start and its end included.

    Raises:
        ValueError: The first place of a name in a template is not read as a whole; the message names both.
    """
    names = [name.replace('_', ' ') for name in class_names]

    def count(texts: Sequence[str]) -> torch.Tensor:
        return num_tokens(texts, tokenizer, LONGEST * context_length)

    prompts = [*sentences]
    if names:
        longest = names[int(count(names).argmax())]
        beginnings = [template[:template.index('{}')] for template in templates]
        late = int(count(beginnings).argmax())
        length = int(count([beginnings[late] + longest]))
        if length > context_length:
            raise ValueError(f'the class name {longest!r} is cut off in the template {templates[late]!r}: up to its '
                             f'end there are {length} tokens, and this CLIP reads {context_length}. Shorten the name '
                             'or the template')
        prompts += [template.replace('{}', longest) for template in templates]
    if not prompts:
        return
    lengths = count(prompts)
    if lengths.max() > context_length:
        prompt = prompts[int(lengths.argmax())]
        warnings.warn(f'the longest prompt has {int(lengths.max())} tokens, and this CLIP reads {context_length}: it '
                      f'does not see the end of {prompt!r}, and maybe of others; write shorter templates or names',
                      LongPromptsWarning, stacklevel=3)


def warn_of_long_captions(captions: Sequence[str], tokenizer: Callable[..., torch.Tensor], context_length: int) -> bool:
    """Warn of captions that a CLIP cuts off; return whether there are any.

    Args:
        captions: Captions, at least one.
        tokenizer: As in :func:`check_prompt_lengths`.
        context_length: As in :func:`check_prompt_lengths`.
    """
    lengths = num_tokens(captions, tokenizer, LONGEST * context_length)
    number = int((lengths > context_length).sum())
    if number:
        longest = int(lengths.argmax())
        warnings.warn(f'{number} of {len(captions)} captions of a batch are longer than the {context_length} tokens '
                      f'that this CLIP reads, which does not see their ends; the longest has {int(lengths[longest])}: '
                      f'{captions[longest]!r}. Later batches are not reported', LongPromptsWarning, stacklevel=2)
    return number > 0


def num_tokens(texts: Sequence[str], tokenizer: Callable[..., torch.Tensor], most: int) -> torch.Tensor:
    """Return the number of tokens of N texts, int64 (N,), at most ``most``; padding does not count."""
    tokens = tokenizer(['', *texts], context_length=most)
    used = tokens[1:] != tokens[0, -1]  # what follows the empty text is padding
    return (used * torch.arange(1, most + 1)).amax(dim=1)
