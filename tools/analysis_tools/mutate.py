#!/usr/bin/env python
"""Break the code on purpose, one place at a time, and list what no test notices.

    python tools/analysis_tools/mutate.py opendlign_mm/box_ops --tests tests/unit/test_points_in_boxes.py ...
    python tools/analysis_tools/mutate.py opendlign_mm/models/zero_shot_head.py --sample 50

A mutation is one change of the code: ``<`` to ``<=``, ``+`` to ``-``, ``and`` to ``or``, a number to the next one, a
condition to its negation, ``min`` to ``max``, no keyword argument, no call. It survives if all tests that run its line
pass. Docstrings, annotations, decorators, messages and logging are not mutated. Each mutation runs in a fork of one
process that has imported the libraries; Linux only. Run it in the root of the repository.
"""
import argparse
import ast
import copy
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import NamedTuple

import pytest

OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And}
_PAIRS = (('min', 'max'), ('amin', 'amax'), ('argmin', 'argmax'), ('any', 'all'), ('floor', 'ceil'), ('sin', 'cos'),
          ('zeros', 'ones'), ('minimum', 'maximum'), ('zeros_like', 'ones_like'), ('sum', 'mean'))
OPPOSITES = {name: other for pair in _PAIRS for name, other in (pair, pair[::-1])}
NOT_MUTATED = ('annotation', 'returns', 'decorator_list')
LOGGING = ('print', 'print_log', 'warn', 'say')


class Mutation(NamedTuple):
    """One change of a file.

    Attributes:
        path: File.
        line: First line of the changed node.
        function: Innermost function around it; '' at module level.
        before: Source of the node.
        after: Source of its replacement.
        node: Position of the node in ``ast.walk``.
        variant: Position among the changes of this node.
    """

    path: Path
    line: int
    function: str
    before: str
    after: str
    node: int
    variant: int

    def __str__(self) -> str:
        place = f'{os.path.relpath(self.path)}:{self.line}'
        return f'{place}: {" ".join(self.before.split())[:100]}  ->  {" ".join(self.after.split())[:100]}'


def changes_of(node: ast.AST) -> Iterator[ast.AST]:
    """Return the nodes that may replace ``node``."""
    def changed(**fields: object) -> ast.AST:
        other = copy.copy(node)
        for name, value in fields.items():
            setattr(other, name, value)
        return other

    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OPERATORS:
        yield changed(op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.Compare):
        for position, op in enumerate(node.ops):
            yield changed(ops=[*node.ops[:position], OPERATORS[type(op)](), *node.ops[position + 1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert | ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield changed(value=not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield changed(value=node.value + 1)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in OPPOSITES:
        yield changed(id=OPPOSITES[node.id])
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in OPPOSITES:
        yield changed(attr=OPPOSITES[node.attr])
    elif isinstance(node, ast.Call):
        for position in range(len(node.keywords)):
            yield changed(keywords=node.keywords[:position] + node.keywords[position + 1:])
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and isinstance(
            node.test, ast.Name | ast.Attribute | ast.Call):
        yield changed(test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    elif isinstance(node, ast.Break | ast.Continue):
        yield ast.Continue() if isinstance(node, ast.Break) else ast.Break()


def mutations_of(path: Path) -> list[Mutation]:
    """Return all mutations of a file."""
    tree = ast.parse(path.read_text())
    position = {id(node): number for number, node in enumerate(ast.walk(tree))}
    found: list[Mutation] = []

    def visit(node: ast.AST, function: str) -> None:
        called = getattr(node, 'func', None) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Raise | ast.JoinedStr) or getattr(called, 'attr', getattr(called, 'id', '')) in LOGGING:
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            if getattr(called, 'attr', getattr(called, 'id', '')) in LOGGING:
                return
        if isinstance(node, ast.If) and getattr(node.test, 'id', '') == 'TYPE_CHECKING':
            return
        for variant, after in enumerate(changes_of(node)):
            header = (lambda text: text.splitlines()[0]) if isinstance(node, ast.If | ast.While) else str
            found.append(Mutation(path, node.lineno, function, header(ast.unparse(node)), header(ast.unparse(after)),
                                  position[id(node)], variant))
        if isinstance(node, ast.FunctionDef):
            function = node.name
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and name not in NOT_MUTATED:
                    visit(child, function)

    visit(tree, '')
    return found


def mutated_code(mutation: Mutation):
    """Return the compiled code of the file with the mutation; line numbers stay."""
    tree = ast.parse(mutation.path.read_text())
    nodes = list(ast.walk(tree))
    target = nodes[mutation.node]
    after = ast.copy_location(list(changes_of(target))[mutation.variant], target)
    for parent in nodes:
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, after)
            elif isinstance(value, list):
                value[:] = [after if child is target else child for child in value]
    return compile(ast.fix_missing_locations(tree), str(mutation.path), 'exec')


class Recorder:
    """A pytest plugin that records which tests pass, how long they take and which lines of some files they run."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = {str(path) for path in files}
        self.lines: set[tuple[str, int]] = set()
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.run_by: dict[str, set] = {}
        self.set_up_by: dict[str, set] = {}  # fixtures serve other tests of the same file too

    def _trace(self, frame, event, _):
        if frame.f_code.co_filename not in self.files:
            return None
        self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        """Trace one test, its fixtures included."""
        begin = time.perf_counter()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.seconds[item.nodeid] = time.perf_counter() - begin

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        """Keep what the fixtures of a test run."""
        result = yield
        self.set_up_by.setdefault(item.nodeid.partition('::')[0], set()).update(self.lines)
        return result

    def pytest_runtest_logreport(self, report):
        """Keep what a test runs, and whether it passes."""
        if report.failed:
            self.failed.add(report.nodeid)
        if report.when == 'teardown':
            self.run_by[report.nodeid] = set(self.lines)
            self.lines.clear()

    def result(self) -> dict[str, list]:
        """Return test -> seconds and the lines (file, number) that it runs."""
        return {test: [self.seconds[test], sorted(lines | self.set_up_by[test.partition('::')[0]])]
                for test, lines in self.run_by.items() if test not in self.failed}


def in_fork(work: Callable[[], int], seconds: float) -> int:
    """Return what ``work`` returns in a fork of this process, or -1 after ``seconds``; its output is discarded."""
    child = os.fork()
    if child == 0:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            os._exit(work())
        finally:
            os._exit(70)
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1
        time.sleep(.02)


def record(files: Sequence[Path], tests: Sequence[str], folder: Path) -> dict[str, list]:
    """Run the tests once, in a fork, and then import what they imported, this project's modules aside."""
    def work() -> int:
        recorder = Recorder(files)
        code = pytest.main(['-q', '-p', 'no:cacheprovider', *tests], plugins=[recorder])
        files_of = {name: getattr(module, '__file__', None) or '' for name, module in list(sys.modules.items())}
        libraries = [name for name, file in files_of.items()
                     if not file.startswith(os.getcwd()) or f'{os.sep}site-packages{os.sep}' in file]
        (folder / 'record.json').write_text(json.dumps([recorder.result(), sorted(recorder.failed), libraries]))
        return int(code)

    code = in_fork(work, 3600)
    if not (folder / 'record.json').exists():
        raise SystemExit(f'the tests do not run: pytest ends with {code}')
    result, failed, libraries = json.loads((folder / 'record.json').read_text())
    if failed or not result:
        print(f'{len(result)} tests pass; not used, since they fail without a mutation: {", ".join(failed)}')
    for name in libraries:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: B902  # a module that only its own package can import
            continue
    return result


def tests_for(mutation: Mutation, tests: dict[str, list], most_seconds: float) -> list[str]:
    """Return the tests that run the mutated line, or those that run the file where no test is seen there."""
    tree = ast.parse(mutation.path.read_text())
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)
                  and node.lineno <= mutation.line <= node.end_lineno]
    # Lines of a statement over several lines are reported as its first or as any other one.
    inner = min(statements, key=lambda node: node.end_lineno - node.lineno)
    last = inner.body[0].lineno - 1 if getattr(inner, 'body', None) else inner.end_lineno
    wanted = {(str(mutation.path), line) for line in range(inner.lineno, max(last, inner.lineno) + 1)}
    in_file = {test: {tuple(line) for line in lines if line[0] == str(mutation.path)}
               for test, (_, lines) in tests.items()}
    chosen = [test for test, lines in in_file.items() if lines & wanted]
    compiled = mutation.function and _is_compiled(tree, mutation.function)
    if not mutation.function or compiled or isinstance(inner, ast.FunctionDef):
        chosen = [test for test, lines in in_file.items() if lines]
    chosen.sort(key=lambda test: tests[test][0])
    seconds, kept = 0., []
    for test in chosen:
        seconds += tests[test][0]
        if kept and seconds > most_seconds:
            break
        kept.append(test)
    return kept


def _is_compiled(tree: ast.AST, function: str | None = None) -> bool:
    """Return whether numba compiles the function, or any function of the file."""
    return any(isinstance(node, ast.FunctionDef) and function in (None, node.name) and any(
        'jit' in name or 'compiled' in name for name in map(ast.unparse, node.decorator_list))
        for node in ast.walk(tree))


def survives(mutation: Mutation | None, tests: Sequence[str], seconds: float) -> bool:
    """Return whether all tests pass with the mutation; without any if it is None."""
    def work() -> int:
        if mutation is not None:
            get_code, code = SourceFileLoader.get_code, mutated_code(mutation)
            SourceFileLoader.get_code = lambda self, name: (
                code if self.get_filename(name) == str(mutation.path) else get_code(self, name))
        with tempfile.TemporaryDirectory() as folder:
            # The cache of compiled functions holds the unchanged code.
            if mutation is not None and _is_compiled(ast.parse(mutation.path.read_text())) and 'numba' in sys.modules:
                sys.modules['numba'].config.CACHE_DIR = folder
            return int(pytest.main(['-x', '-q', '-p', 'no:cacheprovider', *tests]))

    return in_fork(work, seconds) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sources', nargs='+', type=Path, help='files or folders to mutate')
    parser.add_argument('--tests', nargs='+', default=['tests/unit'], help='arguments of pytest that choose the tests')
    parser.add_argument('--sample', type=int, help='number of mutations, drawn at random; default all')
    parser.add_argument('--seed', type=int, default=0, help='seed of the sample')
    parser.add_argument('--max-seconds', type=float, default=60,
                        help='most seconds of tests per mutation, the quickest first')
    args = parser.parse_args()
    files = sorted({path.resolve() for source in args.sources
                    for path in (source.rglob('*.py') if source.is_dir() else [source])})
    mutations = [mutation for path in files for mutation in mutations_of(path)]
    if args.sample and args.sample < len(mutations):
        mutations = random.Random(args.seed).sample(mutations, args.sample)
    with tempfile.TemporaryDirectory() as folder:
        tests = record(files, args.tests, Path(folder))
    begin, survived, untested = time.monotonic(), 0, 0
    if not survives(None, list(tests), 30 + 10 * sum(seconds for seconds, _ in tests.values())):
        raise SystemExit('the tests pass, but not a second time in a fork: nothing can be said about mutations')
    for number, mutation in enumerate(mutations, 1):
        chosen = tests_for(mutation, tests, args.max_seconds)
        limit = 30 + 10 * sum(tests[test][0] for test in chosen)
        if not chosen or survives(mutation, chosen, limit):
            survived += 1
            untested += not chosen
            print(f'{mutation}{"" if chosen else "  (no test runs it)"}', flush=True)
        if number % 20 == 0:
            print(f'... {number} of {len(mutations)}, {survived} survived', file=sys.stderr, flush=True)
    print(f'{survived} of {len(mutations)} mutations survived ({100 * survived / max(len(mutations), 1):.1f} %), '
          f'{untested} of them run by no test; {len(tests)} tests, {time.monotonic() - begin:.0f} s')


if __name__ == '__main__':
    main()
