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


def stand_in_state(weights: ModuleType, facts: dict, rescale: bool = False) -> dict:
    """Return stand-in weights of a model; ``rescale`` multiplies those of sparse kernels by sqrt(channels) / 4.5."""
    state = weights.state(facts['shapes'], facts['seed'])
    return {key: value * value.shape[-1]**.5 / 4.5 if rescale and key.endswith('kernel') and value.dim() == 3 else value
            for key, value in state.items()}
