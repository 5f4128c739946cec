"""Sentences of each class, as PointCLIP V2 has a large language model write: read, matched with names, encoded."""
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log

from ..source_files import read_json


def spoken_name(name: str) -> str:
    """Return the name of a class as sentences are looked up by it: in lower case, with spaces."""
    return name.replace('_', ' ').strip().lower()


def resolve_sentences(sentences: Mapping[str, str | Sequence[str]] | str | Path | None
                      ) -> dict[str, tuple[str, ...]]:
    """Return class name in lower case, with spaces -> sentences, of the option ``sentences`` of heads.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: A class has no sentence, or something else than strings.
    """
    if sentences is None:
        return {}
    content: Any = sentences
    if isinstance(sentences, (str, Path)):
        content = content_of(sentences)
        if isinstance(content, dict) and isinstance(content.get('sentences'), dict):
            content = content['sentences']
    if not isinstance(content, Mapping):
        raise ValueError(f'sentences must be a dict class name -> sentences, got a {type(content).__name__} '
                         f'({sentences!r})')
    resolved = {}
    for name, given in content.items():
        texts = (given, ) if isinstance(given, str) else tuple(given) if isinstance(given, (list, tuple)) else ()
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f'the sentences of class {name!r} must be at least one string, got {given!r}')
        resolved[spoken_name(str(name))] = texts
    return resolved


def sentences_of(sentences: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the sentences of the classes that have some; say how many have none.

    Args:
        sentences: Result of :func:`resolve_sentences`.
        names: The vocabulary.

    Raises:
        ValueError: There are sentences, but for no class of the vocabulary.
    """
    if not sentences:
        return {}
    own = {name: tuple(sentences[spoken_name(name)]) for name in names if spoken_name(name) in sentences}
    if not own:
        raise ValueError(f'sentences are given for {", ".join(list(sentences)[:5])}, ..., but for none of the '
                         f'classes {", ".join(names[:5])}, ...; leave sentences out or give those of the dataset')
    if len(own) < len(names):
        print_log(f'{len(names) - len(own)} of {len(names)} classes have no sentences and take the templates',
                  'current', logging.WARNING)
    return own


def all_sentences(sentences: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[str]:
    """Return the sentences of all classes of a vocabulary, one after the other."""
    return [text for name in names for text in sentences.get(spoken_name(name), ())]


def encode_sentences(encode_text: Callable[[list[str]], torch.Tensor], names: Sequence[str],
                     sentences: Mapping[str, Sequence[str]], features: torch.Tensor) -> torch.Tensor:
    """Return class features (C, D): the normalized mean of the sentences of a class, ``features`` where it has none."""
    own, features = sentences_of(sentences, names), features.clone()
    for index, name in enumerate(names):
        if name in own:
            encoded = F.normalize(encode_text(list(own[name])).float(), dim=-1)
            features[index] = F.normalize(encoded.mean(0), dim=-1)
    return features


def content_of(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not JSON.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no file {path}; tools/search_prompts.py writes one')
    return read_json(path)
