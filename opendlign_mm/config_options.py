"""Options that change a config, carried through to every value that the config makes from a changed variable.

A config file is a program: ``projection = dict(...)`` is a variable, and pipelines are made from it when the file is
read. mmengine merges options into the result, where a changed ``projection`` no longer reaches the pipelines.
"""
import ast
import copy
import difflib
import inspect
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, config as mmengine_config
from mmengine.config.utils import RemoveAssignFromAST
from mmengine.runner import Runner

# Top-level names that the Runner reads itself: an option that changes one of them means this one alone.
_RUNNER_KEYS = {*inspect.signature(Runner.__init__).parameters} - {'self', 'cfg'} | {
    'custom_imports', 'runner_type', 'strategy', 'model_wrapper_cfg', 'sync_bn', 'find_unused_parameters',
    'efficient_conv_bn_eval', 'compile', 'tta_model', 'tta_pipeline'}
_READING = threading.Lock()
_CHANGES = threading.local()


def read_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Read a config file and apply options.

    The file and its bases are evaluated with the changed variables, so that all values made from them follow.

    Args:
        path: Config file.
        options: Name -> value, e.g. ``{'model.backbone.pretrained': None, 'data_root': 'data/mine'}``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: An option changes a variable from which values were made that cannot follow, or a top-level name
            that neither the config nor the Runner knows.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'config {path} does not exist; configs/ holds those of this project')
    options = options or {}
    cfg, reads = _evaluate(path, {})
    changes = {variable: {name: value for name, value in options.items() if _root(name) == variable}
               for variable in {_root(name) for name in options} & reads - _RUNNER_KEYS}
    if changes:
        try:
            cfg, _ = _evaluate(path, changes)
        except Exception as error:
            shown = ', '.join(f'{name}={value}' for each in changes.values() for name, value in each.items())
            raise ValueError(f'{path} cannot be read with {shown}: {type(error).__name__}: {error}') from error
    _check_names(cfg, options)
    if reads & set(cfg):
        cfg.merge_from_dict({name: _as_before(cfg.get(name), value) for name, value in options.items()})
    else:
        apply_options(cfg, options)
    return cfg


def apply_options(cfg: Config, options: dict[str, Any]) -> None:
    """Apply options to a config that is no longer a program: one that was read before, or written by a run.

    Args:
        cfg: Config, changed in place.
        options: Name -> value. ``*_root`` and ``*_dir`` move all paths below the old path.

    Raises:
        ValueError: An option changes a variable whose old value is elsewhere in the config, or a top-level name that
            neither the config nor the Runner knows.
    """
    _check_names(cfg, options)
    before = {name: cfg.get(_root(name)) for name in options if _root(name) not in _RUNNER_KEYS}
    for name in before:
        move_path(cfg, name, options[name])
    cfg.merge_from_dict(options)
    for name, old in before.items():
        if cfg[_root(name)] != old:
            _refuse_stale_copies(cfg, name, old)


def move_path(cfg: Config, name: str, value: str | None) -> None:
    """Carry a new value of a path variable (``data_root``, ``cache_dir``) to all values that are below the old path.

    Args:
        cfg: Config, changed in place.
        name: Name of the option; all but top-level variables ``*_root`` and ``*_dir`` are left alone.
        value: New path; None replaces the path itself by None.
    """
    old = cfg.get(name) if name.endswith(('_root', '_dir')) and name != 'work_dir' else None
    if not isinstance(old, str) or not old:
        return
    old, new = old.rstrip('/'), None if value is None else str(value).rstrip('/')

    def moved(node):
        if isinstance(node, dict):
            return {key: moved(item) for key, item in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(moved(item) for item in node)
        if not isinstance(node, str) or node.rstrip('/') != old and not node.startswith(f'{old}/'):
            return node
        return None if new is None else new + node[len(old):]

    cfg.merge_from_dict({key: item for key, item in moved(cfg.to_dict()).items()})


def _check_names(cfg: Config, options: dict[str, Any]) -> None:
    """Refuse options whose top-level name neither the config nor the Runner knows: misspelled ones."""
    for name in options:
        if _root(name) not in cfg and _root(name) not in _RUNNER_KEYS:
            similar = difflib.get_close_matches(_root(name), {*cfg.keys(), *_RUNNER_KEYS}, n=1)
            raise ValueError(f'the config has no {_root(name)!r}' + f', did you mean {similar[0]!r}?' * bool(similar))


def _root(name: str) -> str:
    return name.split('.')[0]


def _as_before(old: Any, new: Any) -> Any:
    """Return a path with a slash at its end if the old one has one: configs append file names to such paths."""
    if isinstance(old, str) and isinstance(new, str) and old.endswith('/') and new:
        return new.rstrip('/') + '/'
    return new


def _refuse_stale_copies(cfg: Config, name: str, old: Any) -> None:
    """Refuse the change of a variable whose old value is elsewhere in the config, as in configs written by a run."""
    root = _root(name)
    places = [place for key in cfg if key != root for place in _copies(cfg[key], key, root, old)]
    if places:
        more = ', ...' * (len(places) > 3)
        raise ValueError(f'{name} is a variable of the config, from which nothing is made any more: its old value is '
                         f'in {", ".join(places[:3])}{more}. Change these instead')


def _copies(node: Any, place: str, name: str, old: Any) -> Iterator[str]:
    """Yield the places in ``node`` with the value of the variable ``name``: equal containers, scalars of this name."""
    if isinstance(old, (dict, list, tuple)) and len(old):
        if isinstance(node, (dict, list, tuple)) and node == old:
            yield place
            return
    elif place.rsplit('.', 1)[-1] == name and type(node) is type(old) and node == old:
        yield place
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, child in children:
        yield from _copies(child, f'{place}.{key}', name, old)


# --- evaluation of config files with changed variables, mmengine <= 0.10.7 --------------------------------------------
# Config.fromfile parses each file of the inheritance chain, removes the assignment of _base_ by RemoveAssignFromAST and
# executes the rest. The class below takes its place for the duration of a call and of this thread only.

def _evaluate(path: str | Path, changes: dict[str, dict[str, Any]]) -> tuple[Config, set[str]]:
    """Read a config with ``changes`` (variable -> its options) wherever a file assigns a variable.

    Returns:
        The config, and the names that the files read.
    """
    reads: set[str] = set()
    with _READING:  # mmengine itself reads configs with bases in mmdet3d in one thread at a time only
        thread = threading.get_ident()
        _CHANGES.by_name = changes
        mmengine_config.RemoveAssignFromAST = lambda key: (
            _ChangedVariables(key, changes, reads) if threading.get_ident() == thread else RemoveAssignFromAST(key))
        try:
            return Config.fromfile(path), reads
        finally:
            mmengine_config.RemoveAssignFromAST = RemoveAssignFromAST
            _CHANGES.by_name = {}


class _ChangedVariables(RemoveAssignFromAST):
    """Transformer of a config file that changes a variable after each statement that sets it."""

    def __init__(self, key: str, changes: dict[str, dict[str, Any]], reads: set[str]) -> None:
        super().__init__(key)
        self.changes, self.reads = changes, reads

    def visit_Module(self, module: ast.Module) -> ast.Module:
        """Note the names that the file reads, and insert the changes."""
        self.generic_visit(module)
        self.reads |= _names_read(module)
        body: list[ast.stmt] = ast.parse('from opendlign_mm.config_options import changed as __changed').body
        for statement in module.body:
            body.append(statement)
            for name in self.changes:
                if _sets(statement, name):
                    body += ast.parse(f'{name} = __changed({name!r}, {name})').body
        if self.changes:
            module.body = body
        return ast.fix_missing_locations(module)


def changed(name: str, value: Any) -> Any:
    """Return the value of a variable with the options of the config file that is being evaluated."""
    options: dict[str, Any] = {}
    for full_name, new in copy.deepcopy(_CHANGES.by_name[name]).items():
        *parents, last = full_name.split('.')
        node = options
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = _as_before(value, new) if full_name == name else new
    try:
        return Config._merge_a_into_b(options, {name: value}, allow_list_keys=True)[name]
    except KeyError:  # a list of a base that is shorter than that of the file that replaces it
        return value


def _names_read(module: ast.Module) -> set[str]:
    """Return the variables that a config file reads: its own and those of its bases, ``_base_.name``."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == '_base_':
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # What mmengine makes of {{_base_.name.key}} before it parses the file.
            names |= set(re.findall(r'^_([A-Za-z_]\w*?)(?:\.[\w.]+)?_[0-9a-f]{6}$', node.value))
    return names


def _sets(statement: ast.stmt, name: str) -> bool:
    """Return whether a top-level statement assigns a variable or may change a part of it."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return False
    if isinstance(statement, ast.Expr):  # such as test_pipeline.insert(...)
        return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement))
    for node in ast.walk(statement):
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            while isinstance(node, (ast.Attribute, ast.Subscript)):
                node = node.value
            if isinstance(node, ast.Name) and node.id == name:
                return True
    return False
