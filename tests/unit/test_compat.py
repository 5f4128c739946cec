"""Work-arounds for third-party versions: checkpoints load safely, registries stay lazy, importing stays light."""
import builtins
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OneCycleLR
from mmengine.registry import Registry

from opendlign_mm.compat import allow_checkpoint_contents, register_location


def saved_and_loaded(content, path):
    torch.save(content, path)
    return torch.load(path, weights_only=True)


def test_log_history_and_schedule_load_with_weights_only(tmp_path):
    hub = MessageHub('test_compat')
    hub.update_scalar('train/loss', 2.5)
    hub.update_scalar('train/loss', np.float32(1.5))
    hub.update_info('numbers', dict(a=np.arange(3), b=np.array(['x']), c=np.int64(4), d=np.bool_(True)))
    optimizer = torch.optim.AdamW(torch.nn.Linear(2, 2).parameters())
    schedule = OneCycleLR(optimizer, eta_max=.1, total_steps=10)
    state = saved_and_loaded(dict(hub=hub.state_dict(), schedule=schedule.state_dict()), tmp_path / 'state.pth')
    history = state['hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer) and history.mean() == 2.0
    np.testing.assert_array_equal(state['hub']['runtime_info']['numbers']['a'], np.arange(3))
    assert state['schedule']['anneal_func'](0., 1., .5) == pytest.approx(.5)


class Evil:
    """Pickles as getattr(<allowed class>, <name>)."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return builtins.getattr, (self.owner, self.name)


@pytest.mark.parametrize('owner, name', [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile'),
                                         (OneCycleLR, 'load_state_dict')])
def test_no_other_attribute_can_be_reached(tmp_path, owner, name):
    torch.save(Evil(owner, name), tmp_path / 'evil.pth')
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        torch.load(tmp_path / 'evil.pth', weights_only=True)


def test_other_functions_stay_forbidden(tmp_path):
    torch.save(Evil.__init__, tmp_path / 'function.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'function.pth')


@pytest.fixture
def late_module(tmp_path, monkeypatch):
    """A module that registers ``LateModel`` in ``late_registry.MODELS`` when it is imported."""
    (tmp_path / 'late_registry.py').write_text(
        'from mmengine.registry import Registry\nMODELS = Registry("model", scope="late_registry")\n')
    (tmp_path / 'late_module.py').write_text(
        'from late_registry import MODELS\n@MODELS.register_module()\nclass LateModel:\n    pass\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield 'late_module'
    for name in ('late_registry', 'late_module'):
        sys.modules.pop(name, None)


@pytest.mark.parametrize('already_imported', [False, True])
def test_location_is_imported_when_it_is_needed(late_module, already_imported):
    from late_registry import MODELS
    assert isinstance(MODELS, Registry)
    if already_imported:
        MODELS.import_from_location()
    register_location(MODELS, late_module)
    register_location(MODELS, late_module)
    assert (late_module in sys.modules) == already_imported
    assert MODELS.get('LateModel').__name__ == 'LateModel'
    assert MODELS._locations.count(late_module) == 1
    assert late_module not in Registry('another', scope='late_registry')._locations


def test_a_torch_that_runs_the_code_in_checkpoints_is_refused(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1+cu124')
    with pytest.raises(ImportError, match='needs PyTorch 2.6 or newer, found 2.5.1'):
        allow_checkpoint_contents()


def test_importing_the_package_is_light_and_building_finds_everything():
    """In a fresh process: no mmdet3d models or structures at import; the detection components when one is asked for."""
    code = (
        'import sys, opendlign_mm\n'
        'heavy = {"mmdet3d.models", "mmdet3d.structures", "mmdet.models", "diffusers", "h5py", "plyfile", '
        '"sklearn", "matplotlib"} '
        '& set(sys.modules)\n'
        'assert not heavy, heavy\n'
        'from mmdet3d.registry import MODELS, TRANSFORMS, METRICS, HOOKS, OPTIM_WRAPPERS, DATASETS\n'
        'import opendlign_mm.models, opendlign_mm.projection\n'
        'assert "mmdet3d.models" not in sys.modules\n'
        'for registry, names in {\n'
        '        MODELS: "CLIPDepthBackbone DepthImageContrastiveHead ZeroShotHead OpenDlign ViewDataPreprocessor '
        'OpenVocabBBoxHead OpenVocabDetector3D ClusterProposals GroundTruthProposals ShadedTextureGenerator",\n'
        '        TRANSFORMS: "LoadBuiltInShape LoadShapePoints LoadDepthViews ProjectPointsToDepth PackShapeInputs '
        'DepthViewToImage",\n'
        '        METRICS: "ZeroShotAccuracy",\n'
        '        HOOKS: "EpochSeedHook CheckpointGuardHook VocabularyFromDatasetHook",\n'
        '        OPTIM_WRAPPERS: "AutocastOptimWrapper",\n'
        '        DATASETS: "BuiltInShapes ReleasedDepthMaps ModelNet40Resampled ShapeFolder"}.items():\n'
        '    for name in names.split():\n'
        '        assert registry.get(name) is not None, name\n'
        '        assert registry.get(f"mmdet3d.{name}").__module__.startswith("opendlign_mm."), name\n'
        'print("found")\n')
    finished = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=200,
                              env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert finished.stdout.strip().endswith('found'), finished.stderr[-2000:]
