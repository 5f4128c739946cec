"""Load the scripts in ``tools/`` as modules, and run them without a process of their own."""
import contextlib
import importlib.util
import io
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest import mock

REPOSITORY = Path(__file__).resolve().parents[2]


def load_tool(name: str) -> ModuleType:
    """Return a new module of ``tools/<name>.py``, e.g. 'retrieve' or 'analysis_tools/ablate'."""
    spec = importlib.util.spec_from_file_location(f'tool_{Path(name).name}', REPOSITORY / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Finished(NamedTuple):
    """Exit code and output of a tool, named as in ``subprocess.CompletedProcess``."""
    returncode: int
    stdout: str
    stderr: str


def run_tool(name: str, *arguments: object, cwd: Path = REPOSITORY) -> Finished:
    """Run ``tools/<name>.py`` in this process, which has imported what a new one would import for seconds.

    An error that the tool does not catch is raised here.
    """
    code, here, out, errors = 0, os.getcwd(), io.StringIO(), io.StringIO()
    os.chdir(cwd)
    try:
        with (mock.patch.object(sys, 'argv', [f'{name}.py', *map(str, arguments)]), contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(errors)):
            load_tool(name).main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        os.chdir(here)
    return Finished(code, out.getvalue(), errors.getvalue())
