"""What an installed package contains, and that its tools are pinned."""
import ast
import re
import subprocess
import sys

from helpers.tool_modules import REPOSITORY


def test_an_installed_package_has_all_modules_weights_and_the_marker_of_types(tmp_path):
    subprocess.run([sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)], cwd=REPOSITORY,
                   check=True, capture_output=True)
    package = REPOSITORY / 'opendlign_mm'
    expected = {path.relative_to(REPOSITORY) for path in package.rglob('*')
                if path.is_file() and not {'__pycache__', '.mim'} & set(path.parts)}
    assert {path.relative_to(REPOSITORY).name for path in package.glob('assets/*')} >= {'tiny_clip.safetensors'}
    built = {path.relative_to(tmp_path) for path in tmp_path.rglob('*') if path.is_file()}
    assert {path for path in built if '.mim' not in path.parts} == expected  # .mim: tests/tools/test_wheel.py
    assert (tmp_path / 'opendlign_mm/py.typed').is_file()


def test_what_the_tests_need_is_pinned():
    setup = ast.parse((REPOSITORY / 'setup.py').read_text())
    extras = next(ast.literal_eval(keyword.value) for node in ast.walk(setup) if isinstance(node, ast.Call)
                  for keyword in node.keywords if keyword.arg == 'extras_require')
    pinned = {line.partition('==')[0].strip().lower() for line in
              (REPOSITORY / 'tools/constraints.txt').read_text().splitlines() if '==' in line}
    installed = re.search(r"-e '\.\[([\w,]+)\]'", (REPOSITORY / 'tools/install.sh').read_text())[1].split(',')
    names = {requirement.partition('>')[0] for extra in installed for requirement in extras[extra]}
    assert {'ruff', 'mypy', 'pytest'} <= names
    assert not names - pinned
