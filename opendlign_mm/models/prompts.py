"""Prompts: templates of texts, names of classes, and the text features of a vocabulary with a cache on disk."""
import hashlib
import json
import logging
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from open_clip import OPENAI_IMAGENET_TEMPLATES
from tqdm import tqdm

from ..atomic_files import atomic_write
from ..source_files import read_json

# Keywords that a CLIP interrogator finds on depth maps (OpenDlign, section 3.3); they end each prompt.
DEPTH_KEYWORDS = 'a silhouette of a {}, a raytraced image, image dataset, kinetic pointillism'


# --- templates --------------------------------------------------------------------------------------------------------

def imagenet_templates() -> tuple[str, ...]:
    """Return CLIP's 80 ImageNet templates, with ``{}`` in the place of the class name."""
    return tuple(template('{}') for template in OPENAI_IMAGENET_TEMPLATES)


def depth_templates() -> tuple[str, ...]:
    """Return CLIP's 80 ImageNet templates rewritten for depth maps of 3D models (OpenDlign, section 3.3).

    A photo becomes a depth map or, in every second template, a depth image; the class becomes a gray 3D model on a
    white background, which is how a depth map looks; the keywords follow.
    """
    templates = []
    for index, template in enumerate(imagenet_templates()):
        noun = 'depth image' if index % 2 else 'depth map'
        template = template.replace('photo', noun).replace('itap', f'i took a {noun}')
        template = template.replace('{}', 'gray {} 3D model with white background')
        templates.append(f"{template.rstrip('.')}, {DEPTH_KEYWORDS}.")
    return tuple(templates)


BUILT_IN_TEMPLATES = {'depth': depth_templates, 'imagenet': imagenet_templates}


def resolve_templates(templates: str | Path | Sequence[str] | None) -> tuple[str, ...]:
    """Return the templates that an option stands for.

    Args:
        templates: A list of templates; a single one; ``'depth'`` (also for None) or ``'imagenet'``; or the path of a
            JSON file, as ``'path#key'`` where the file has several sets.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A template has no ``{}``, or the file is not one of templates or has several sets.
    """
    if templates is None:
        templates = 'depth'
    if not isinstance(templates, (str, Path)):
        return checked_templates(templates)
    if templates in BUILT_IN_TEMPLATES:
        return BUILT_IN_TEMPLATES[str(templates)]()
    if '{}' in str(templates):
        return checked_templates([str(templates)])
    path, _, key = str(templates).partition('#')
    if Path(str(templates)).expanduser().is_file():  # a file name may contain the mark
        path, key = str(templates), ''
    return load_templates(path, key or None)


def load_templates(path: str | Path, key: str | None = None) -> tuple[str, ...]:
    """Read templates from a JSON file: a list, or ``{key: list}`` as the authors publish them, one set per dataset.

    Args:
        path: JSON file. Each template has one or more ``{}``, all of which stand for the class name.
        key: Name of the set, where the file has several.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not JSON, has no such set, or something else than lists of templates.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no template file at {path}; give a JSON file, a list of templates or one of '
                                f'{sorted(BUILT_IN_TEMPLATES)}')
    content = read_json(path)
    if isinstance(content, dict):
        if key is None and len(content) == 1:
            key = next(iter(content))
        if key not in content:
            raise ValueError(f"{path} has templates for {sorted(content)}; choose one of them as '{path}#<name>', "
                             f'got {key!r}')
        content = content[key]
    return checked_templates(content)


def checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Return the templates as a tuple.

    Raises:
        ValueError: There is no template, or one without a place for the class name.
    """
    if not isinstance(templates, (list, tuple)) or not templates:
        raise ValueError(f'templates must be a list of at least one string, got {templates!r}')
    for template in templates:
        if not isinstance(template, str) or '{}' not in template:
            raise ValueError(f"the template {template!r} has no '{{}}' for the class name")
    return tuple(templates)


def look_released(templates: Sequence[str]) -> bool:
    """Return whether templates may be the authors': 80, each with two places for the class, and not built in here."""
    return (len(templates) == 80 and all(template.count('{}') == 2 for template in templates)
            and tuple(templates) not in [make() for make in BUILT_IN_TEMPLATES.values()])


# --- classes ----------------------------------------------------------------------------------------------------------

def checked_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the vocabulary as a tuple.

    Raises:
        ValueError: The vocabulary is empty, not a list of non-empty strings, or names a class twice.
    """
    if isinstance(class_names, str):
        raise ValueError(f'class_names must be a list of names, got the single string {class_names!r}')
    class_names = tuple(class_names)
    if not class_names:
        raise ValueError('the vocabulary is empty: give at least one class name')
    if any(not isinstance(name, str) or not name.strip() for name in class_names):
        raise ValueError(f'each class name must be a non-empty string, got {list(class_names)}')
    repeated = sorted(name for name, count in Counter(class_names).items() if count > 1)
    if repeated:
        raise ValueError(f'the vocabulary names these classes more than once: {", ".join(repeated)}')
    return class_names


@torch.no_grad()
def encode_class_names(encode_text: Callable[[list[str]], torch.Tensor], class_names: Sequence[str],
                       templates: Sequence[str], batch_size: int = 256) -> torch.Tensor:
    """Compute one feature per class: the normalized mean of the normalized features of all its prompts.

    Args:
        encode_text: Function from a list of M texts to their embeddings (M, D).
        class_names: C names; underscores are read as spaces.
        templates: T templates with ``{}`` for the name.
        batch_size: Number of texts per call of ``encode_text``.

    Returns:
        Float32 (C, D), each row L2-normalized.
    """
    class_names, templates = checked_class_names(class_names), checked_templates(templates)
    texts = [template.replace('{}', name.replace('_', ' ')) for name in class_names for template in templates]
    starts = range(0, len(texts), batch_size)
    features = torch.cat([
        F.normalize(encode_text(texts[start:start + batch_size]).float(), dim=-1)
        for start in tqdm(starts, desc='class features', disable=len(starts) < 10, leave=False)
    ])
    return F.normalize(features.view(len(class_names), len(templates), -1).mean(dim=1), dim=-1)


class UnknownWordsWarning(UserWarning):
    """Warning of words that a CLIP with a small vocabulary was not trained on."""


def warn_of_unknown_words(tokens: torch.Tensor, known_token_ids: torch.Tensor | None, tokenizer) -> None:
    """Warn of tokens that the CLIP was not trained on.

    Args:
        tokens: Int64 (N, L), the texts.
        known_token_ids: Int64 (K,), the tokens that the CLIP was trained on; None: all, and nothing is checked.
        tokenizer: Tokenizer with a ``decode``, for the words of the message.
    """
    if known_token_ids is None:
        return
    unknown = tokens.unique()
    unknown = unknown[~torch.isin(unknown, known_token_ids.to(unknown.device))].tolist()
    if unknown:
        words = ', '.join(sorted(tokenizer.decode([token]).strip() for token in unknown))
        warnings.warn(f'this CLIP was trained with a small vocabulary and knows nothing of: {words}; name classes and '
                      'write templates with words it was trained on', UnknownWordsWarning, stacklevel=3)


# --- cache ------------------------------------------------------------------------------------------------------------

# warnings.catch_warnings, by which unknown words are noticed, holds for all threads.
_COMPUTING = threading.RLock()


def text_cache_key(encoder: str, class_names: Sequence[str], templates: Sequence[str]) -> str:
    """Return the cache key of class features, as JSON.

    Args:
        encoder: Cache key of the text encoder (:meth:`CLIPDepthBackbone.text_encoder_key`).
        class_names: Vocabulary, in its order.
        templates: Templates, in their order.
    """
    return json.dumps(dict(encoder=encoder, class_names=list(class_names), templates=list(templates)))


def cached_class_features(cache_dir: str | Path, key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return the features stored under ``key``; compute and store them, once for all threads, where there are none.

    The file is named after the SHA-256 of the key and holds the key; an unreadable file, or one of another key, is
    made again. Features that came with an :class:`UnknownWordsWarning` are not stored, so that the warning is
    repeated in each run.

    Args:
        cache_dir: Folder of the files; created if needed.
        key: See :func:`text_cache_key`.
        compute: Function that returns the features, float32 (C, D).

    Returns:
        Float32 (C, D); on the CPU if it was read, otherwise as ``compute`` returned it.
    """
    path = Path(cache_dir) / f'{hashlib.sha256(key.encode()).hexdigest()}.npz'
    with _COMPUTING:
        stored = _read(path, key)
        if stored is not None:
            return stored
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            features = compute()
        for warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        if not any(issubclass(warning.category, UnknownWordsWarning) for warning in caught):
            with atomic_write(path) as unfinished:
                np.savez(unfinished, key=np.array(key), features=features.detach().cpu().numpy())
    return features


def _read(path: Path, key: str) -> torch.Tensor | None:
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            return torch.from_numpy(file['features']) if str(file['key']) == key else None
    except Exception as error:  # damage may raise anything: TokenError, NotImplementedError, ...
        print_log(f'{path} cannot be read ({type(error).__name__}: {error}); its class features are computed again',
                  'current', logging.WARNING)
        return None
