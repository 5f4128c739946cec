#!/usr/bin/env python
"""Print how the package is cut: sizes of its modules, imports between its rooms, circles.

    python tools/analysis_tools/measure_structure.py [FOLDER]      # FOLDER: a checkout, default this one

A room is a module or folder directly in ``opendlign_mm``. An import runs up unless its room stands on a higher floor
than the room that it imports from.
"""
import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

PACKAGE = 'opendlign_mm'
# From the bottom up; rooms of one floor know nothing of each other.
FLOORS = (
    ('version', 'atomic_files', 'compiled', 'file_keys', 'structures', 'compat', 'config_options',
     'one_ahead', 'registry', 'source_files'),
    ('projection', 'point_ops', 'box_ops', 'processes'),
    ('point_files', ),
    ('visualization', 'datasets', 'models', 'point_encoders'),
    ('detection', ),
    ('apis', ),
    ('evaluation', 'retrieval', 'generation'),
    ('engine', 'web', 'benchmarks'),
    ('command_line', 'utils'),
    ('__main__', ),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


class Import(NamedTuple):
    """One import statement's target.

    Attributes:
        source: Importing module, e.g. ``opendlign_mm.models.opendlign``.
        target: Imported module; of our own package always a module, never a name in it.
        line: Line number in the source.
        is_typing: Whether the import stands under ``if TYPE_CHECKING``.
    """

    source: str
    target: str
    line: int
    is_typing: bool

    def __str__(self) -> str:
        return f'{self.source}:{self.line} imports {self.target}'


def package_files(root: Path) -> dict[str, Path]:
    """Return dotted name -> file of every module and package."""
    files = {}
    for path in sorted((root / PACKAGE).rglob('*.py')):
        parts = path.relative_to(root).with_suffix('').parts
        files['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return files


def room_of(module: str) -> str:
    """Return the room of a module; that of the package's own ``__init__`` is ''."""
    return module.split('.')[1] if '.' in module else ''


def imports_of(root: Path) -> list[Import]:
    """Return all imports of the package, those in functions too, of our own modules and of others."""
    files = package_files(root)
    return [found for name, path in files.items()
            for found in _imports_in(ast.parse(path.read_text()), name, path.name == '__init__.py', files)]


def _imports_in(tree: ast.AST, module: str, is_package: bool, files: dict[str, Path]) -> Iterator[Import]:
    typing_only = {id(node) for block in ast.walk(tree) if isinstance(block, ast.If) and _is_typing_test(block.test)
                   for statement in block.body for node in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = module.split('.')[:None if is_package else -1]
            above = parents[:len(parents) - node.level + 1] if node.level else []
            base = '.'.join([*above, *([node.module] if node.module else [])])
            # `from . import name` names a module or something in the package itself.
            targets = [f'{base}.{alias.name}' if f'{base}.{alias.name}' in files else base for alias in node.names]
        else:
            continue
        for target in dict.fromkeys(targets):
            yield Import(module, target, node.lineno, id(node) in typing_only)


def _is_typing_test(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == 'TYPE_CHECKING') or (
        isinstance(test, ast.Attribute) and test.attr == 'TYPE_CHECKING')


def upward_imports(imports: list[Import]) -> list[Import]:
    """Return the imports between rooms that do not point to a lower floor."""
    top = len(FLOORS)

    def floor(module: str) -> int:
        # A single module of another checkout that the table does not know serves all, as those of the first floor do.
        return FLOOR_OF.get(room_of(module), 0) if room_of(module) else top

    return [found for found in imports if found.target.split('.')[0] == PACKAGE
            and room_of(found.source) != room_of(found.target) and floor(found.source) <= floor(found.target)]


def circles(imports: list[Import]) -> list[list[str]]:
    """Return the groups of own modules that import each other in a circle, imports for types aside."""
    edges: dict[str, set[str]] = {}
    for found in imports:
        if found.target.split('.')[0] == PACKAGE and not found.is_typing:
            edges.setdefault(found.source, set()).add(found.target)
    reachable = {module: _reachable(module, edges) for module in edges}
    groups = {frozenset(other for other in reached if module in reachable.get(other, ()))
              for module, reached in reachable.items() if module in reached}
    return sorted(sorted(group) for group in groups)


def _reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(edges.get(start, ()))
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += edges.get(module, ())
    return found


def run_time_imports(rooms: tuple[str, ...], imports: list[Import]) -> set[str]:
    """Return all modules, own and foreign, that the modules of ``rooms`` import directly or through others."""
    edges: dict[str, set[str]] = {}
    for found in imports:
        if not found.is_typing:
            edges.setdefault(found.source, set()).add(found.target)
    return {target for module in edges if room_of(module) in rooms for target in _reachable(module, edges)}


def long_functions(files: dict[str, Path], more_than: int = 60) -> list[str]:
    """Return ``module.function (lines)`` of each function longer than ``more_than`` lines, its docstring included."""
    return [f'{module}.{node.name} ({node.end_lineno - node.lineno + 1})'
            for module, path in files.items() for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > more_than]


def line_count(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text().splitlines())


def describe(root: Path) -> str:
    """Return the measurements of a checkout, one a line."""
    files, imports = package_files(root), imports_of(root)
    lengths = {name: line_count(path) for name, path in files.items() if path.name != '__init__.py'}
    longest = max(lengths, key=lengths.__getitem__)
    lists = {
        'modules under 40 lines': [f'{name} ({length})' for name, length in lengths.items() if length < 40],
        'functions over 60 lines, those of tools too': long_functions(
            {**files, **{path.stem: path for path in sorted((root / 'tools').rglob('*.py'))}}),
        'imports that run up': [str(found) for found in upward_imports(imports)],
        'circles': [' <-> '.join(group) for group in circles(imports)]}
    rows = [f'modules without __init__.py: {len(lengths)}', f'median length: {median(lengths.values()):g} lines',
            f'longest: {longest} ({lengths[longest]})']
    for title, entries in lists.items():
        rows += [f'{title}: {len(entries)}', *(f'    {entry}' for entry in entries)]
    for folder in (PACKAGE, 'configs', 'tools', 'tests'):
        rows.append(f'lines of {folder}/**/*.py: {sum(line_count(path) for path in (root / folder).rglob("*.py"))}')
    return '\n'.join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', type=Path, default=Path(__file__).resolve().parents[2])
    print(describe(parser.parse_args().folder))


if __name__ == '__main__':
    main()
