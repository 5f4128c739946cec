"""Work-arounds for third-party versions, each with its reason and the version that needs it.

Importing this module applies only the allow-list for checkpoints, which adds names and changes nothing else. The other
work-arounds are functions, called where they are needed. One work-around is elsewhere, in ``detection/mmcv_on_cpu.py``:
mmcv 2.1 has its point operations for CUDA only, so mmdet3d's detectors cannot run on the CPU. Its replacements need
``point_ops`` and mmdet3d's structures (11 seconds to import), which this module must not import.
"""
import logging
import os
import subprocess
from collections.abc import Callable
from importlib import import_module

import numpy as np
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.registry import Registry

# --- checkpoints of mmengine <= 0.10.7 under torch >= 2.6 ------------------------------------------------------------
# torch.load refuses everything but tensors and plain containers by default (weights_only=True), and mmengine calls it
# without that argument. A Runner's checkpoint also contains the log history (HistoryBuffer: NumPy arrays and its own
# methods) and, with OneCycleLR, the annealing function. The restriction stays on; only those names are allowed.

_FUNCTIONS_IN_CHECKPOINTS = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def _method_in_checkpoint(owner: type, name: str) -> Callable:
    """Replace ``getattr``, by which pickle refers to methods, for the few methods that checkpoints contain."""
    if name not in _FUNCTIONS_IN_CHECKPOINTS.get(owner, ()):
        raise ValueError(f'the checkpoint refers to {name!r} of {owner!r}, which no mmengine checkpoint needs; '
                         'do not load a file that you do not trust')
    return getattr(owner, name)


def _numpy_names() -> list[tuple[Callable, str]]:
    """Return NumPy's reconstruction functions and dtypes with their names in NumPy 1 and 2."""
    multiarray = import_module('numpy.core.multiarray' if np.__version__ < '2' else 'numpy._core.multiarray')
    names = [(getattr(multiarray, function), f'numpy.{core}.multiarray.{function}')
             for core in ('core', '_core') for function in ('_reconstruct', 'scalar')]
    dtypes = [type(np.dtype(code)) for code in ('?', 'u1', 'i4', 'i8', 'f2', 'f4', 'f8', 'U1')]
    return names + [(dtype, f'{dtype.__module__}.{dtype.__qualname__}') for dtype in dtypes]


def allow_checkpoint_contents() -> None:
    """Let ``torch.load`` read what mmengine's Runner writes into a checkpoint, without lifting its restriction."""
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < (2, 6):
        raise ImportError(f'opendlign_mm needs PyTorch 2.6 or newer, found {torch.__version__}: older ones run code '
                          'in a checkpoint that mmengine loads')
    allowed: list[Callable | tuple[Callable, str]] = [HistoryBuffer, OneCycleParamScheduler, np.ndarray, np.dtype]
    allowed += _numpy_names()
    allowed += [(_method_in_checkpoint, 'builtins.getattr'), (bytes, 'builtins.bytes')]
    torch.serialization.add_safe_globals(allowed)


# --- distributed runs without CUDA, mmengine <= 0.10.7 ----------------------------------------------------------------

# Variables that launchers set.
_RANK_VARIABLES = dict(
    pytorch=dict(RANK='RANK', WORLD_SIZE='WORLD_SIZE', LOCAL_RANK='LOCAL_RANK'),
    slurm=dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    mpi=dict(RANK='OMPI_COMM_WORLD_RANK', WORLD_SIZE='OMPI_COMM_WORLD_SIZE', LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK'))


def launched_rank(launcher: str) -> int:
    """Return the rank of this process by the environment of ``launcher``, before any process group is made."""
    return 0 if launcher == 'none' else int(os.environ.get(_RANK_VARIABLES[launcher]['RANK'], 0))


def detected_launcher() -> str:
    """Return 'pytorch' in a process of torchrun, otherwise 'none'.

    Slurm has to be named, since it sets its variables in interactive shells as well.
    """
    return 'pytorch' if 'TORCHELASTIC_RUN_ID' in os.environ else 'none'


def prepare_cpu_distributed(cfg: Config, launcher: str, **group_options) -> None:
    """Make ``launcher`` work where there is no CUDA device; do nothing where there is one or without a launcher.

    mmengine's launchers call ``torch.cuda.set_device`` unconditionally. Its Runner leaves an existing process group
    alone, so the group (gloo) is made here, before the Runner. Its default wrapper passes ``device_ids``, which
    DistributedDataParallel refuses for CPU modules, hence the wrapper is named in ``cfg`` with ``device_ids=None``.
    torch's SyncBatchNorm has no CPU implementation, hence ``sync_bn`` is removed from ``cfg`` with a warning.

    Args:
        cfg: Config of the run; its ``model_wrapper_cfg`` is set and its ``sync_bn`` removed.
        launcher: One of 'none', 'pytorch', 'slurm' and 'mpi'.
        group_options: Further arguments of ``torch.distributed.init_process_group``, e.g. ``timeout``.

    Raises:
        RuntimeError: The launcher's environment variables are missing, that is, the script was started without it.
    """
    if launcher == 'none' or torch.cuda.is_available():
        return
    if cfg.pop('sync_bn', None):
        print_log('sync_bn of the config is ignored: SyncBatchNorm needs CUDA. On the CPU each process normalizes by '
                  'the statistics of its own samples', logger='current', level=logging.WARNING)
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False,
                   find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    if dist.is_initialized():
        return
    variables = _RANK_VARIABLES[launcher]
    missing = [name for name in variables.values() if name not in os.environ]
    if missing:
        raise RuntimeError(f'launcher {launcher!r} sets {", ".join(missing)}, which this process does not have; '
                           'start it through tools/dist_train.sh or tools/slurm_train.sh, or leave --launcher out')
    for name, source in variables.items():
        os.environ[name] = os.environ[source]
    if 'MASTER_ADDR' not in os.environ:
        several_hosts = launcher == 'slurm' and 'SLURM_NODELIST' in os.environ
        os.environ['MASTER_ADDR'] = _first_slurm_host() if several_hosts else '127.0.0.1'
    os.environ.setdefault('MASTER_PORT', '29500')
    dist.init_process_group('gloo', **group_options)


def _first_slurm_host() -> str:
    hosts = subprocess.run(['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']], capture_output=True,
                           text=True, check=True).stdout.split()
    return hosts[0]


# --- lazy registration, mmengine <= 0.10.7 ----------------------------------------------------------------------------

def register_location(registry: Registry, module: str) -> None:
    """Make ``registry`` import ``module`` when it first looks a name up.

    A registry of mmengine gets its list of modules when it is created, and mmdet3d's registries are created in mmdet3d.
    This adds a plugin's module that needs all of mmdet3d (11 seconds to import) to that list, so that importing the
    plugin stays cheap. A registry that has already imported its modules imports this one at once.
    """
    if module in registry._locations:
        return
    if registry._locations:
        registry._locations.append(module)
    else:
        registry._locations = [module]  # an empty list is the default argument that all registries share
    if registry._imported:
        import_module(module)


# --- gradients of sparse convolutions on the CPU, spconv <= 2.3.8 -----------------------------------------------------

def let_spconv_differentiate_on_cpu() -> None:
    """Let spconv's backward pass run where there is no NVIDIA driver.

    It asks for the current CUDA stream also for CPU tensors, which raises an error without a driver; on the CPU the
    stream is not used. Where there is a CUDA device nothing is changed.
    """
    if torch.cuda.is_available():
        return
    from spconv.pytorch import ops
    ops.get_current_stream = lambda: 0


allow_checkpoint_contents()
