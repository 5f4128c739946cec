"""Prompt templates, and text features of class names with a cache on disk."""
import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import OPENAI_IMAGENET_TEMPLATES
from tqdm import tqdm

from ..atomic_files import atomic_write

# Found with a CLIP interrogator on depth maps; they end each prompt.
DEPTH_KEYWORDS = 'a silhouette of a {}, a raytraced image, image dataset, kinetic pointillism'


def imagenet_templates() -> tuple[str, ...]:
    """CLIP's 80 ImageNet templates, with ``{}`` in the place of the class name."""
    return tuple(template('{}') for template in OPENAI_IMAGENET_TEMPLATES)


def depth_templates() -> tuple[str, ...]:
    """CLIP's 80 ImageNet templates turned to depth maps of 3D models.

    A photo becomes a depth map or, in every second template, a depth image; the class becomes a gray 3D model on
    white background, which is how a depth map looks; the keywords follow.
    """
    templates = []
    for index, template in enumerate(imagenet_templates()):
        picture = 'depth image' if index % 2 else 'depth map'
        template = template.replace('photo', picture).replace('itap', f'i took a {picture}')
        template = template.replace('{}', 'gray {} 3D model with white background')
        templates.append(f"{template.rstrip('.')}, {DEPTH_KEYWORDS}.")
    return tuple(templates)


BUILT_IN_TEMPLATES = {'depth': depth_templates, 'imagenet': imagenet_templates}


def load_templates(path: str | Path, dataset: str | None = None) -> tuple[str, ...]:
    """Read templates from JSON: a list, or ``{dataset: [templates]}`` as the authors publish them.

    Args:
        path: The file. Each template has one or more ``{}``, all of which stand for the class name.
        dataset: The key, where the file has several.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such key, or not a list of templates.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'There is no template file at {path}. Give a JSON file, a list of templates or one of '
                                f'{sorted(BUILT_IN_TEMPLATES)}.')
    content = json.loads(path.read_text())
    if isinstance(content, dict):
        if dataset is None and len(content) == 1:
            dataset = next(iter(content))
        if dataset not in content:
            raise ValueError(f'{path} has templates for {sorted(content)}; choose one of them, got dataset={dataset!r}')
        content = content[dataset]
    return checked_templates(content)


def resolve_templates(templates: None | str | Path | Sequence[str], dataset: str | None = None
                      ) -> tuple[str, ...]:
    """Templates from a list, the name of a built-in set (``'depth'``, the default, or ``'imagenet'``) or a file."""
    if templates is None:
        templates = 'depth'
    if isinstance(templates, (str, Path)):
        if templates in BUILT_IN_TEMPLATES:
            return BUILT_IN_TEMPLATES[templates]()
        if '{}' in str(templates):
            return checked_templates([templates])
        return load_templates(templates, dataset)
    return checked_templates(templates)


def checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """The templates as a tuple; ``ValueError`` if there is none, or one without a place for the class name."""
    if not isinstance(templates, (list, tuple)) or not templates:
        raise ValueError(f'templates must be a list of at least one text, got {templates!r}')
    for template in templates:
        if not isinstance(template, str) or '{}' not in template:
            raise ValueError(f"the template {template!r} has no '{{}}' for the class name")
    return tuple(templates)


def checked_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The vocabulary as a tuple; ``ValueError`` if it is empty, not a list of texts, or names a class twice."""
    if isinstance(class_names, str):
        raise ValueError(f'class_names must be a list of names, got the single text {class_names!r}')
    class_names = tuple(class_names)
    if not class_names:
        raise ValueError('the vocabulary is empty: give at least one class name')
    if any(not isinstance(name, str) or not name.strip() for name in class_names):
        raise ValueError(f'each class name must be a non-empty text, got {list(class_names)}')
    repeated = sorted({name for name in class_names if class_names.count(name) > 1})
    if repeated:
        raise ValueError(f'the vocabulary names these classes more than once: {", ".join(repeated)}')
    return class_names


@torch.no_grad()
def class_features(encode_text: Callable[[list[str]], torch.Tensor], class_names: Sequence[str],
                   templates: Sequence[str], batch_size: int = 256) -> torch.Tensor:
    """One feature per class: the normalized mean of the normalized features of all its prompts.

    Args:
        encode_text: list of M texts -> (M, D).
        class_names: C names; underscores are read as spaces.
        templates: T templates with ``{}`` for the name.
        batch_size: Texts per call of ``encode_text``.

    Returns:
        float32 (C, D), each row of length 1.
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
    """A text holds words that the CLIP never learnt."""


def warn_of_unknown_words(tokens: torch.Tensor, known_token_ids: torch.Tensor | None, tokenizer) -> None:
    """Warn if texts hold tokens that a CLIP with a small vocabulary never learnt (``known_token_ids`` given)."""
    if known_token_ids is None:
        return
    unknown = tokens.unique()
    unknown = unknown[~torch.isin(unknown, known_token_ids.to(unknown.device))].tolist()
    if unknown:
        words = ', '.join(sorted(tokenizer.decode([token]).strip() for token in unknown))
        warnings.warn(f'This CLIP was trained with a small vocabulary and knows nothing of: {words}. '
                      'Name classes and templates with words it was trained on.', UnknownWordsWarning)


def text_cache_key(encoder: str, class_names: Sequence[str], templates: Sequence[str]) -> str:
    """What decides the class features, as JSON.

    Args:
        encoder: Names the text encoder by its content; see :meth:`CLIPDepthBackbone.text_encoder_key`.
        class_names: The vocabulary, in its order.
        templates: The templates.
    """
    return json.dumps(dict(encoder=encoder, class_names=list(class_names), templates=list(templates)))


def cached_class_features(cache_dir: str | Path, key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The features kept under ``key``, or those of ``compute``, which are then kept.

    The file is named after the SHA-256 of the key and holds the key; one that cannot be read or holds another key is
    made again. Features that came with an :class:`UnknownWordsWarning` are not kept, so that the warning
    comes each time.

    Args:
        cache_dir: Folder of the files; made if needed.
        key: See :func:`text_cache_key`.
        compute: Gives float32 (C, D).

    Returns:
        float32 (C, D); on the CPU if it was read, as ``compute`` gave it otherwise.
    """
    path = Path(cache_dir) / f'{hashlib.sha256(key.encode()).hexdigest()}.npz'
    kept = _read(path, key)
    if kept is not None:
        return kept
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
    try:
        with np.load(path) as file:
            return torch.from_numpy(file['features']) if str(file['key']) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
