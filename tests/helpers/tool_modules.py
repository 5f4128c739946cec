"""Load the scripts in ``tools/`` as modules."""
import importlib.util
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[2]


def load_tool(name: str) -> ModuleType:
    """Return a new module of ``tools/<name>.py``, e.g. 'retrieve' or 'analysis_tools/ablate'."""
    spec = importlib.util.spec_from_file_location(f'tool_{Path(name).name}', REPOSITORY / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
