"""README.md, CONTRIBUTING.md, docstrings and comments name files that exist."""
import re
from itertools import product

from helpers.tool_modules import REPOSITORY

# A changelog also names files that are gone.
PLACES = ('*.md', 'configs/*/*.md', 'tools/*.md', '.github/CONTRIBUTING.md',
          'configs/**/*.py', 'opendlign_mm/**/*.py', 'tools/**/*.py', 'tools/**/*.sh')
NAMED = re.compile(r'(?<![\w./:-])(?:configs|opendlign_mm|tests|tools|\.github)/[\w./{},*-]*\w'
                   r'\.(?:py|sh|txt|json|png|md)\b')


def alternatives(path):
    """Return the paths that shell braces stand for: 'a{b,c}d' -> ['abd', 'acd']."""
    parts = re.split(r'\{([^}]*)\}', path)
    return [''.join(choice) for choice in product(*[
        part.split(',') if position % 2 else [part] for position, part in enumerate(parts)])]


def test_every_file_that_is_named_exists():
    named = [(path, document) for place in PLACES for document in sorted(REPOSITORY.glob(place))
             for found in NAMED.findall(document.read_text()) for path in alternatives(found)]
    assert len(named) > 150
    assert not [f'{document}: {path}' for path, document in named if not any(REPOSITORY.glob(path))]
