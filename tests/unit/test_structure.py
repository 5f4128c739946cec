"""Rooms of the package: which may import which, and what the lowest ones do without."""
import re
import subprocess
import sys

import pytest

from helpers.tool_modules import REPOSITORY, load_tool

structure = load_tool('analysis_tools/measure_structure')
WITHOUT_OPENMMLAB = ('projection', 'point_ops', 'box_ops')
LOADS_WITHOUT_OPENMMLAB = """
import importlib.util, pkgutil, sys, types

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmdet3d', 'mmengine'):
            raise ImportError(f'{name} must not be imported')

sys.meta_path.insert(0, Refuse())
parent = sys.modules['opendlign_mm'] = types.ModuleType('opendlign_mm')  # the package itself imports mmdet3d
parent.__path__ = [sys.argv[1]]
if importlib.util.find_spec('triton') is None:  # PyTorch for CPUs comes without it
    sys.modules['opendlign_mm.projection.triton_kernels'] = types.ModuleType('opendlign_mm.projection.triton_kernels')
for room in sys.argv[2:]:
    package = importlib.import_module(f'opendlign_mm.{room}')
    for module in pkgutil.iter_modules(package.__path__):
        print(importlib.import_module(f'opendlign_mm.{room}.{module.name}').__name__)
"""


@pytest.fixture(scope='module')
def imports():
    return structure.imports_of(REPOSITORY)


def write_package(root, **files):
    """Write modules, 'room__module' for room/module.py, into a package of its own."""
    for name, text in files.items():
        path = root / structure.PACKAGE / f'{name.replace("__", "/")}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return structure.imports_of(root)


def test_every_room_has_a_floor():
    rooms = {structure.room_of(module) for module in structure.package_files(REPOSITORY)} - {''}
    assert rooms == set(structure.FLOOR_OF)


def test_every_import_between_rooms_points_to_a_lower_floor(imports):
    assert len(imports) > 300
    assert not [str(found) for found in structure.upward_imports(imports)]


def test_no_modules_import_each_other_in_a_circle(imports):
    assert not structure.circles(imports)


def test_an_import_in_a_function_that_runs_up_is_found(tmp_path):
    found = write_package(
        tmp_path, models__head='def f():\n    from ..detection import detector\n    from ..box_ops.iou import g\n',
        detection__detector='import torch\nfrom ..models.head import f\n', box_ops__iou='')
    assert [str(found) for found in structure.upward_imports(found)] == [
        'opendlign_mm.models.head:2 imports opendlign_mm.detection.detector']
    assert structure.circles(found) == [['opendlign_mm.detection.detector', 'opendlign_mm.models.head']]


def test_rooms_of_one_floor_do_not_import_each_other(tmp_path):
    found = write_package(tmp_path, models__head='from opendlign_mm.datasets import x\n', datasets__x='')
    assert len(structure.upward_imports(found)) == 1


def test_an_import_for_types_alone_makes_no_circle(tmp_path):
    found = write_package(
        tmp_path, models__a='from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import B\n',
        models__b='from .a import A\n')
    assert not structure.circles(found)


def test_geometry_imports_neither_mmdet3d_nor_mmengine(imports):
    reached = structure.run_time_imports(WITHOUT_OPENMMLAB, imports)
    assert 'torch' in reached
    assert not [module for module in reached if module.partition('.')[0] in ('mmdet3d', 'mmengine')]


def test_geometry_loads_in_an_interpreter_without_mmdet3d_and_mmengine():
    folder = REPOSITORY / structure.PACKAGE
    done = subprocess.run([sys.executable, '-c', LOADS_WITHOUT_OPENMMLAB, str(folder), *WITHOUT_OPENMMLAB],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [path for room in WITHOUT_OPENMMLAB for path in (folder / room).glob('[!_]*.py')]
    assert len(done.stdout.split()) == len(expected)


@pytest.mark.parametrize('pattern', [
    r'\.cuda\(\)',  # the device follows the input
    r'sys\.path\.(insert|append)',  # tools/install.sh installs the package
    r'(?<![\w.])/(?:root|home|work|tmp)/',  # paths of one machine
])
def test_no_source_contains(pattern):
    found = [f'{path.relative_to(REPOSITORY)}:{number}: {line.strip()}'
             for folder in (structure.PACKAGE, 'configs', 'tools') for path in (REPOSITORY / folder).rglob('*.py')
             for number, line in enumerate(path.read_text().splitlines(), 1) if re.search(pattern, line)]
    assert not found


def test_a_trace_names_the_modules_of_which_a_function_runs(tmp_path, monkeypatch):
    counting = load_tool('analysis_tools/count_files_to_open')
    for name, text in dict(
            first='from .second import Second\n\n\ndef start():\n    from . import late\n    return Second(), late\n',
            second='from . import unused\n\n\nclass Second:\n    def __init__(self):\n        self.kept = 1\n',
            late='from .unused import run\n\nVALUE = run()\n', unused='def run():\n    return 1\n',
            __init__='').items():
        (tmp_path / 'traced_package').mkdir(exist_ok=True)
        (tmp_path / f'traced_package/{name}.py').write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    from traced_package.first import start
    with counting.Trace(tmp_path / 'traced_package') as modules:
        start()
    assert list(modules) == ['first.py', 'second.py'], 'what importing runs does not count'
