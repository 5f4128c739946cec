"""The Dockerfile: Docker's own parser reads it, and its versions and files are those of the project."""
import re

import pytest

from helpers.tool_modules import REPOSITORY

FOLDER = REPOSITORY / '.github/docker'
PINNED = re.compile(r'\b([A-Za-z0-9_-]+)==([\w.+]+)')


@pytest.fixture(scope='module')
def commands():
    dockerfile = pytest.importorskip('dockerfile', reason="Docker's parser: pip install dockerfile")
    return dockerfile.parse_file(str(FOLDER / 'Dockerfile'))


def of_kind(commands, kind):
    return [command for command in commands if command.cmd.upper() == kind]


def test_dockers_parser_reads_it_and_knows_every_instruction(commands):
    known = {'ARG', 'FROM', 'RUN', 'ENV', 'WORKDIR', 'COPY', 'VOLUME', 'EXPOSE', 'ENTRYPOINT', 'CMD'}
    assert {command.cmd.upper() for command in commands} == known
    entrypoint, = of_kind(commands, 'ENTRYPOINT')
    assert entrypoint.value == ('opendlign', ) and entrypoint.json


def test_the_last_stage_stands_on_a_stage_for_each_device(commands):
    stages = [command.value for command in of_kind(commands, 'FROM')]
    named = {stage[2] for stage in stages if len(stage) == 3}
    default, = (command.value[0].partition('=')[2] for command in of_kind(commands, 'ARG')
                if command.value[0].startswith('DEVICE'))
    assert stages[-1] == ('base-${DEVICE}', )
    assert named == {f'base-{device}' for device in ('cpu', 'cuda')} and f'base-{default}' in named


def test_versions_are_those_of_the_constraints(commands):
    constraints = dict(PINNED.findall((REPOSITORY / 'tools/constraints.txt').read_text()))
    found = dict(PINNED.findall(' '.join(command.original for command in of_kind(commands, 'RUN'))))
    assert set(found) == {'torch', 'torchvision', 'mmcv'}
    assert found == {name: constraints[name] for name in found}
    assert f'CUDA={constraints["cuda-toolkit"]}' in [command.value[0] for command in of_kind(commands, 'ARG')]
    installs = [command.original for command in of_kind(commands, 'RUN') if 'pip install' in command.original]
    assert len(installs) == 4 and all('-c tools/constraints.txt' in install for install in installs)


def test_everything_that_is_copied_exists_and_is_not_ignored(commands):
    ignored = (FOLDER / 'Dockerfile.dockerignore').read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith('!')}
    copied = [source for command in of_kind(commands, 'COPY') for source in command.value[:-1]]
    assert ignored[0] == '*' and {source.partition('/')[0] for source in copied} == allowed
    assert all((REPOSITORY / source).exists() for source in copied)


def test_the_system_has_what_opencv_loads(commands):
    for command in of_kind(commands, 'RUN')[:2]:
        assert {'libgl1', 'libglib2.0-0'} <= set(command.original.split())
