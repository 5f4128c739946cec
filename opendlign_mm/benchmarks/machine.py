"""Description of the machine that was measured, without which no figure means anything."""
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..version import __version__
from .limits import rates

_PACKAGES = ('mmengine', 'mmcv', 'mmdet3d', 'open_clip_torch', 'numba', 'numpy')


def describe_machine(device: torch.device, quick: bool = False) -> dict[str, Any]:
    """Return processor, threads, load, GPU, versions and the measured rates, for JSON."""
    facts: dict[str, Any] = dict(
        processor=_processor(), cores=os.cpu_count(), threads=torch.get_num_threads(), load=os.getloadavg()[0],
        python=platform.python_version(), system=platform.platform(), device=str(device),
        versions={'opendlign_mm': __version__, 'torch': torch.__version__,
                  **{name: found for name in _PACKAGES if (found := _version(name))}})
    if device.type == 'cuda':
        card = torch.cuda.get_device_properties(device)
        facts.update(gpu=card.name, gpu_memory=card.total_memory, cuda=torch.version.cuda)
    return dict(facts, rates=rates(device, quick))


def _processor() -> str:
    """Return the name of the processor as the system knows it."""
    path = Path('/proc/cpuinfo')
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
