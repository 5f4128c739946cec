"""Vocabularies of the inferencers: lists of words, text files, and built-in ones by name."""
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..datasets.class_names import OV3DET_NYU40_IDS, SCANNET_CLASSES, vocabulary_of
from ..datasets.procedural import categories_of
from ..models import CLIPDepthBackbone
from ..models.clip_loading import ASSETS, PACKAGED_CLIPS
from ..models.prompts import UnknownWordsWarning

# ScanNet's 18 detection classes, OV-3DET's 20, ScanNet200's, ModelNet40's, and the 1,203 of LVIS v1.
BUILT_IN = ('scannet18', 'scannet20', 'scannet200', 'modelnet40', 'lvis')
MAX_WORDS = 100_000


def read_vocabulary(classes: str | Path | Sequence[str]) -> list[str]:
    """Return the class names that ``classes`` stands for.

    Args:
        classes: A list of names; ``'scannet18'``, ``'scannet20'`` (OV-3DET's 20 classes), ``'scannet200'``,
            ``'modelnet40'`` or ``'lvis'``; the path of a text file with one name a line; or names separated by commas.

    Raises:
        FileNotFoundError: ``classes`` looks like a path, and there is no such file.
        TypeError: ``classes`` is not a list of strings.
        ValueError: There is no name, one is empty or has no letter or digit, or two mean the same class; the message
            names them.
    """
    if isinstance(classes, (str, Path)):
        return _checked(*_named(classes))
    if not isinstance(classes, Sequence) and not hasattr(classes, '__iter__'):
        raise TypeError(f'classes must be a list of names, a file or one of {", ".join(BUILT_IN)}, got a '
                        f'{type(classes).__name__}')
    names = list(classes)
    strange = [name for name in names if not isinstance(name, str)]
    if strange:
        raise TypeError(f'each class must be a string, got {strange[0]!r}')
    return _checked(names, 'classes')


def _named(classes: str | Path) -> tuple[list[str], str]:
    """Return the names that a single string or path stands for, and where they are from."""
    text = str(classes).strip()
    if text in BUILT_IN:
        return list(built_in_vocabulary(text)), text
    path = Path(text).expanduser()
    if text and len(text) < 4096 and path.is_file():
        return _lines(path), str(path)
    if isinstance(classes, Path) or path.suffix in ('.txt', '.csv', '.json') or '/' in text and ',' not in text:
        raise FileNotFoundError(f'there is no file of classes {classes}; give a text file with one name a line, names '
                                f'separated by commas, or one of {", ".join(BUILT_IN)}')
    return text.split(','), 'classes'


def built_in_vocabulary(name: str) -> tuple[str, ...]:
    """Return a vocabulary of :data:`BUILT_IN`, in the words of prompts."""
    if name == 'scannet18':
        return vocabulary_of(SCANNET_CLASSES)
    if name == 'scannet20':
        return tuple(OV3DET_NYU40_IDS)
    return tuple((ASSETS / 'vocabularies' / f'{name}.txt').read_text(encoding='utf-8').splitlines())


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not a text file with one class a line ({error})') from error
    return [line for line in lines if line.strip() and not line.lstrip().startswith('#')]


def _checked(names: list[str], source: str) -> list[str]:
    names = [' '.join(name.split()) for name in names]
    if not names or names == ['']:
        raise ValueError(f'{source}: there is no class name; give at least one')
    if len(names) > MAX_WORDS:
        raise ValueError(f'{source}: {len(names)} class names are more than {MAX_WORDS}')
    empty = [place for place, name in enumerate(names, start=1) if not name]
    if empty:
        raise ValueError(f'{source}: class name {empty[0]} of {len(names)} is empty')
    silent = [name for name in names if not any(character.isalnum() for character in name)]
    if silent:
        raise ValueError(f'{source}: {silent[0]!r} has no letter or digit, of which a text encoder could make sense')
    seen: dict[str, str] = {}
    for name in names:
        # CLIP reads capital letters as small ones, and prompts have blanks for underscores.
        spoken = ' '.join(name.replace('_', ' ').lower().split())
        if spoken in seen:
            raise ValueError(f'{source}: {seen[spoken]!r} and {name!r} are the same class; name it once'
                             if seen[spoken] != name else f'{source}: {name!r} occurs twice; name each class once')
        seen[spoken] = name
    return names


def default_vocabulary(name: str, backbone: CLIPDepthBackbone) -> list[str]:
    """Return the names of a built-in vocabulary; for the packaged CLIP those of objects that it was trained on."""
    names = built_in_vocabulary(name)
    if backbone.clip_name not in PACKAGED_CLIPS:
        return list(names)
    trained = set(categories_of(2))
    return [each for each in names if each in trained]


def unknown_names(backbone: CLIPDepthBackbone, names: Sequence[str]) -> list[str]:
    """Return the class names with a word that the CLIP was not trained on; none for a CLIP of unlimited vocabulary."""
    known = backbone.known_token_ids
    if known is None:
        return []
    known_ids = set(known.tolist())
    tokens = backbone.tokenize([name.replace('_', ' ') for name in names])
    return [name for name, row in zip(names, tokens.tolist(), strict=True) if not set(row) <= known_ids]


def warn_of_unknown_names(backbone: CLIPDepthBackbone, names: Sequence[str]) -> None:
    """Warn, in one message, of the class names with a word that the CLIP was not trained on."""
    unknown = unknown_names(backbone, names)
    if unknown:
        shown = ', '.join(unknown[:10]) + f' and {len(unknown) - 10} more' * (len(unknown) > 10)
        warnings.warn(f"the CLIP '{backbone.clip_name}' was not trained on these words, and their scores mean nothing: "
                      f'{shown}; use other words or a model with a larger CLIP', UnknownWordsWarning, stacklevel=3)
