"""The tool that breaks the code on purpose: what it changes, and that it tells noticed changes from others."""
import ast
import os
import subprocess
import sys

from helpers.tool_modules import REPOSITORY, load_tool

SOURCE = '''
def clamp(value: int = 3, *, low: int = -1) -> int:
    """Return 1 + 1, which is text."""
    if value < low and not value:
        raise ValueError('at least ' + str(low + 1))
    print(value + 1)
    return min(value, low)
'''


def test_operators_numbers_and_names_change_but_no_message(tmp_path):
    tool = load_tool('analysis_tools/mutate')
    path = tmp_path / 'clamp.py'
    path.write_text(SOURCE)
    found = tool.mutations_of(path)
    assert sorted((mutation.line, mutation.before, mutation.after) for mutation in found) == [
        (2, '-1', '1'), (2, '1', '2'), (2, '3', '4'), (4, 'not value', 'value'), (4, 'value < low', 'value <= low'),
        (4, 'value < low and (not value)', 'value < low or not value'), (7, 'min', 'max')]
    change, = (mutation for mutation in found if mutation.after == 'max')
    names = {}
    exec(tool.mutated_code(change), names)
    assert names['clamp'](5, low=2) == 5
    assert names['clamp'].__code__.co_firstlineno == 2, 'lines stay where they are'


def test_a_change_that_a_test_notices_does_not_survive(tmp_path):
    """The test below sees the default of ``low`` and the minimum; no value of it reaches the other four changes."""
    (tmp_path / 'clamp.py').write_text(SOURCE)
    (tmp_path / 'test_clamp.py').write_text(
        'from clamp import clamp\n\n\ndef test_clamp():\n    assert clamp(5) == -1\n    assert clamp() == -1\n')
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / 'tools/analysis_tools/mutate.py'), 'clamp.py', '--tests', 'test_clamp.py'],
        cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith('4 of 7 mutations survived (57.1 %), 0 of them run by no test; 1 tests')


def test_compiled_functions_are_recognized(tmp_path):
    """No line of them is seen to run: all tests of the file are for them, and without numba's cache."""
    tool = load_tool('analysis_tools/mutate')
    tree = ast.parse('@compiled()\ndef fast():\n    return 1\n\n\n@nb.njit\ndef faster():\n    return 2\n\n\n'
                     '@lru_cache\ndef slow():\n    return 3\n')
    assert [tool._is_compiled(tree, name) for name in ('fast', 'faster', 'slow')] == [True, True, False]
    compiled = [path.name for path in sorted((REPOSITORY / 'opendlign_mm').rglob('*.py'))
                if tool._is_compiled(ast.parse(path.read_text()))]
    assert {'ball_query.py', 'furthest_points.py', 'numba_backend.py'} <= set(compiled)
