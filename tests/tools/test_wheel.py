"""The wheel and the source distribution: what they carry, and that it works from any folder without the checkout."""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.tool_modules import REPOSITORY
from opendlign_mm.datasets.procedural import sample_shape

PIP = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check', '--no-input']
NAMES = """
from mmengine.hub import get_config, get_model
import opendlign_mm
print(opendlign_mm.__file__)
print(get_config('opendlign_mm::benchmarks/opendlign_b16_modelnet40.py').filename)
print(get_config('opendlign_mm::opendlign/opendlign_h14.py', pretrained=True).model_path)
print(type(get_model('opendlign_mm::opendlign/opendlign_tiny.py', pretrained=True)).__name__)
"""


def build(source, out):
    """Return the wheel that pip builds of a folder, without a network."""
    subprocess.run([*PIP, 'wheel', '--no-index', '--no-build-isolation', '--no-deps', '-w', str(out), str(source)],
                   check=True, capture_output=True)
    wheel, = out.glob('*.whl')
    return wheel


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A wheel and a source distribution of this checkout, and a folder into which the wheel is installed."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    source.mkdir()
    for name in ('setup.py', 'README.md', 'LICENSE'):
        shutil.copy(REPOSITORY / name, source)
    for name in ('opendlign_mm', 'configs', 'tools'):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    wheel = build(source, folder / 'wheel')
    shutil.rmtree(source / 'build', ignore_errors=True)
    subprocess.run([sys.executable, 'setup.py', '-q', 'sdist', '-d', str(folder / 'sdist')], cwd=source, check=True,
                   capture_output=True)
    sdist, = (folder / 'sdist').iterdir()
    subprocess.run([*PIP, 'install', '--no-index', '--no-deps', '--no-compile', '--target', str(folder / 'target'),
                    str(wheel)], check=True, capture_output=True)
    (folder / 'elsewhere').mkdir()
    return SimpleNamespace(folder=folder, source=source, wheel=wheel, sdist=sdist, target=folder / 'target')


def run(built, *command):
    """Run a command in an empty folder with the installed wheel alone, without a network."""
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=built.folder / 'elsewhere', capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(built.target), HF_HUB_OFFLINE='1', OMP_NUM_THREADS='1',
                 XDG_CACHE_HOME=str(built.folder / 'cache')))


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}


def test_the_wheel_carries_configs_tools_and_the_model_index(built):
    package = built.target / 'opendlign_mm'
    assert files_of(package / '.mim/configs') == files_of(REPOSITORY / 'configs')
    assert files_of(package / '.mim/tools') == files_of(REPOSITORY / 'tools')
    assert (package / '.mim/model-index.yml').read_text() == (REPOSITORY / 'configs/model-index.yml').read_text()
    assert files_of(package / 'assets') == files_of(REPOSITORY / 'opendlign_mm/assets')


def test_a_source_distribution_makes_the_same_wheel(built):
    with tarfile.open(built.sdist) as archive:
        archive.extractall(built.folder / 'unpacked', filter='data')
    unpacked, = (built.folder / 'unpacked').iterdir()
    again = build(unpacked, built.folder / 'again')
    names = [set(zipfile.ZipFile(path).namelist()) for path in (built.wheel, again)]
    assert names[0] == names[1] and len(names[0]) > 200


def test_an_editable_installation_links_what_the_wheel_copies(built):
    subprocess.run([sys.executable, '-c', 'import sys; from setuptools import build_meta; '
                    'build_meta.build_editable(sys.argv[1])', str(built.folder / 'editable')],
                   cwd=built.source, check=True, capture_output=True)
    mim = built.source / 'opendlign_mm/.mim'
    assert (mim / 'configs').is_symlink() and (mim / 'tools/test.py').samefile(built.source / 'tools/test.py')
    assert (mim / 'model-index.yml').samefile(built.source / 'configs/model-index.yml')


def test_mmengine_finds_configs_and_models_of_the_wheel_by_name(built):
    done = run(built, '-c', NAMES)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith('Loads')]
    assert lines[0] == str(built.target / 'opendlign_mm/__init__.py')
    assert lines[1] == str(built.target / 'opendlign_mm/.mim/configs/benchmarks/opendlign_b16_modelnet40.py')
    assert lines[2].endswith('/ViT-H-14-quickgelu.pth') and lines[3] == 'OpenDlign'


def test_help_of_the_installed_command_imports_no_pytorch(built):
    done = run(built, '-X', 'importtime', built.target / 'bin/opendlign', 'detect', '--help')
    assert done.returncode == 0 and 'Find and name the objects' in done.stdout
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'opendlign_mm.command_line.main' in imported and not {'torch', 'mmengine', 'numpy'} & imported


def test_the_installed_command_classifies_with_the_packaged_model_from_any_folder(built):
    write_cloud(built, 'chair.xyz', 'chair')
    write_cloud(built, 'table.xyz', 'table')
    done = run(built, built.target / 'bin/opendlign', 'classify', 'chair.xyz', 'table.xyz', '--classes',
               'chair,table,lamp', '--json', '--out', 'shapes')
    assert done.returncode == 0, done.stderr
    assert [prediction['labels'][0] for prediction in json.loads(done.stdout)] == ['chair', 'table']
    assert 'model: opendlign-tiny' in done.stderr and (built.folder / 'elsewhere/shapes/index.html').is_file()


def test_the_installed_command_detects_and_reports_a_broken_scan(built):
    folder = built.folder / 'elsewhere'
    rng = np.random.default_rng(0)
    chair = sample_shape('chair', rng, 3000).points
    chair = (chair - chair.min(axis=0)) / np.ptp(chair[:, 2])  # 1 m high, on the floor
    floor = np.c_[rng.uniform(-1.5, 2.5, (6000, 2)), rng.normal(0, .002, 6000)]
    np.save(folder / 'room.npy', np.r_[chair, floor].astype(np.float32))
    (folder / 'broken.ply').write_text('ply')
    done = run(built, '-m', 'opendlign_mm', 'detect', 'room.npy', 'broken.ply', '--classes', 'chair,bed', '--out',
               'rooms', '--json')
    assert done.returncode == 1, done.stderr
    room, broken = json.loads(done.stdout)
    middle = (chair.min(axis=0) + chair.max(axis=0)) / 2
    assert min(np.abs(np.subtract(box['bbox_3d'][:3], middle)).max() for box in room['boxes']) < .25
    assert 'broken.ply' in broken['error'] and 'failed: broken.ply' in done.stderr
    assert json.loads((folder / 'rooms/boxes.json').read_text()) and list((folder / 'rooms').glob('room*.html'))


def write_cloud(built, name, category):
    points = sample_shape(category, np.random.default_rng(1), 3000).points
    np.savetxt(built.folder / 'elsewhere' / name, points, fmt='%.4f')
