"""Outputs of released code on stand-in weights, for the tests that compare with them."""
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def stand_in_weights(shared_dir: Path) -> ModuleType:
    """Return the module that makes the stand-in weights; skip the test where there are no outputs to compare with."""
    if not (shared_dir / 'parity/baselines').is_dir():
        pytest.skip(f'no outputs of compared systems in {shared_dir}/parity/baselines')
    spec = importlib.util.spec_from_file_location('parity_weights', shared_dir / 'parity/weights.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
