"""Every command of the pages is accepted by its tool and, unless the page says what it needs, runs as it stands there.

A block or a line is marked by ``# needs: ...``. Commands without a mark run here, on a CLIP and datasets of a few
objects where the real ones would take minutes.
"""
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from helpers.scenes import furnished_room
from helpers.small_tools import SmallTools
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.command_line import main as command
from opendlign_mm.config_options import read_config
from opendlign_mm.datasets.procedural import sample_shape

PAGES = [REPOSITORY / 'README.md', *sorted(REPOSITORY.glob('configs/*/README.md')), REPOSITORY / 'tools/README.md',
         REPOSITORY / '.github/CONTRIBUTING.md']
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```', re.DOTALL | re.MULTILINE)
MARK = re.compile(r'#\s*needs:\s*\S')
# Commands that contain the tests, or take as long as all of them together.
ELSEWHERE = ('bash tools/', '.venv/bin/pip install pre-commit', 'python tools/analysis_tools/mutate.py')


def blocks(language):
    return [(page, block) for page in PAGES for kind, block in BLOCK.findall(page.read_text()) if kind == language]


def commands():
    """Return (page, command without comment, marked) of each line of the shell blocks."""
    found = []
    for page, block in blocks('bash'):
        whole = bool(MARK.match(block))
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            if words and not re.fullmatch(r'\w+=\S+', words[0]):
                found.append((page, words, whole or bool(MARK.search(line))))
    return found


def identity(value):
    page, words, marked = value
    return f'{page.relative_to(REPOSITORY).parent.name or "README"}: {" ".join(words)[:60]}'


COMMANDS = commands()
UNMARKED = [entry for entry in COMMANDS if not entry[2] and not ' '.join(entry[1]).startswith(ELSEWHERE)]


def test_the_pages_have_commands_and_examples():
    assert len(COMMANDS) > 40 and len(UNMARKED) >= 5
    assert len((REPOSITORY / 'README.md').read_text().splitlines()) <= 160
    assert all(page.exists() for page in PAGES)


@pytest.mark.parametrize('entry', [entry for entry in COMMANDS if entry[1][0] == 'opendlign'], ids=identity)
def test_arguments_of_the_command_are_accepted(entry):
    command.build_parser().parse_args(entry[1][1:])


@pytest.mark.parametrize('entry', [entry for entry in COMMANDS if entry[1][:1] == ['python'] and
                                   entry[1][1].startswith('tools/') and 'analysis_tools' not in entry[1][1]],
                         ids=identity)
def test_arguments_of_the_tools_are_accepted(entry, monkeypatch):
    _, (_, tool, *arguments), _ = entry
    module = load_tool(Path(tool).stem)
    generation = str(REPOSITORY / 'configs/generation/sd15_controlnet_depth.py')
    monkeypatch.setattr(sys, 'argv', [tool, *(generation if word == '$c' else word for word in arguments)])
    args = module.parse_args()
    config = getattr(args, 'config', None)
    if config and 'generation' not in str(config):
        read_config(REPOSITORY / config, getattr(args, 'cfg_options', None))  # names of options exist


@pytest.mark.parametrize('entry', [entry for entry in COMMANDS if 'analysis_tools' in ' '.join(entry[1])], ids=identity)
def test_analysis_tools_exist(entry):
    assert (REPOSITORY / next(word for word in entry[1] if word.startswith('tools/analysis_tools/'))).is_file()


def chair() -> trimesh.Trimesh:
    parts = [trimesh.creation.box(extents, trimesh.transformations.translation_matrix(center)) for extents, center in (
        ((.5, .5, .06), (0, 0, .45)), ((.5, .06, .5), (0, .22, .7)),
        *[((.06, .06, .45), (x, y, .22)) for x in (-.2, .2) for y in (-.2, .2)])]
    return trimesh.util.concatenate(parts)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the files that the pages name, and the repository's configs."""
    monkeypatch.chdir(tmp_path)
    chair().export('chair.obj')
    trimesh.PointCloud(furnished_room()[0][::3, :3].double().numpy()).export('scan.ply')
    (tmp_path / 'configs').symlink_to(REPOSITORY / 'configs')
    return tmp_path


@pytest.mark.parametrize('entry', UNMARKED, ids=identity)
def test_commands_without_a_mark_run(entry, folder, monkeypatch, capsys):
    _, words, _ = entry
    if words[0] == 'opendlign':
        # A logger made in an earlier test writes to what pytest captured then, which is closed.
        monkeypatch.setattr('logging.raiseExceptions', False)
        assert command.main(words[1:]) == 0, capsys.readouterr().err
        assert 'Traceback' not in capsys.readouterr().err
        return
    if words[1:] == ['tools/reproduce.py', '--list']:
        monkeypatch.setattr(sys, 'argv', words[1:])
        load_tool('reproduce').main()
        assert 'Table 1: zero-shot classification' in capsys.readouterr().out
        return
    assert words[0] == 'python' and words[1] in ('tools/train.py', 'tools/test.py'), f'{words} has no mark and no test'
    small, (config, *rest) = SmallTools(monkeypatch, folder), words[2:]
    options = rest[rest.index('--cfg-options') + 1:] if '--cfg-options' in rest else []
    if words[1] == 'tools/test.py':  # what the page trains first
        small.run('train', config, options=['train_cfg.max_epochs=1'])
        checkpoint = str(next(folder.glob('work_dirs/*/epoch_1.pth')))
        small.run('test', config, checkpoint, options=options)
    else:
        small.run('train', config, options=options)
    assert list(folder.glob('work_dirs/*/*/*.log'))
    if 'Tensorboard' in ' '.join(options):
        assert list(folder.rglob('events.out.tfevents*'))


@pytest.mark.parametrize('page, block', [entry for entry in blocks('python') if not MARK.match(entry[1])],
                         ids=lambda value: value.parent.name if isinstance(value, Path) else '')
def test_examples_in_python_run(page, block, folder):
    points = torch.as_tensor(sample_shape('chair', np.random.default_rng(0), 1000).points)
    exec(compile(block, str(page), 'exec'), dict(points=points))
