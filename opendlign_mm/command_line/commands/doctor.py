"""Check the installation: versions, GPU, mmcv's operators, and a short test of the demonstration model.

  opendlign doctor
"""
import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from ..results import add_json_option, print_json, print_table, results_alone

REQUIRED = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmdet3d', 'open_clip_torch', 'numpy', 'safetensors',
            'huggingface_hub')
# Optional package -> the extra that installs it.
OPTIONAL = {'faiss-cpu': 'retrieval', 'diffusers': 'generation', 'gradio': 'demo', 'laspy': 'scans'}
# Objects of the self-test, which the demonstration model tells apart.
SHAPES = ('chair', 'table', 'bed', 'sofa', 'toilet', 'lamp')


class Check(NamedTuple):
    """One line of the report; ``is_good`` is None for what is optional and absent."""

    what: str
    found: str
    is_good: bool | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('--no-test', action='store_true', help='versions only, without running the model')
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the checks; 1 if one of them fails."""
    with results_alone():
        checks = [Check('python', platform.python_version(), (3, 10) <= _python() < (3, 13)), *_versions()]
        probes: dict[str, Callable[[], str]] = {'GPU': _gpu, "mmcv's operators": _mmcv_ops, 'model index': _index}
        if not args.no_test:
            probes['self-test'] = _self_test
        checks += [_probed(what, probe) for what, probe in probes.items()]
    if args.json:
        print_json([check._asdict() for check in checks])
    else:
        marks = {True: 'ok', False: 'FAILED', None: '-'}
        print_table(['', 'found', ''], [(check.what, check.found, marks[check.is_good]) for check in checks])
    return 1 if any(check.is_good is False for check in checks) else 0


def _python() -> tuple[int, int]:
    major, minor, _ = platform.python_version_tuple()
    return int(major), int(minor)


def _versions() -> list[Check]:
    checks = [Check(name, _version(name) or 'not installed', _version(name) is not None)
              for name in ('opendlign_mm', *REQUIRED)]
    for name, extra in OPTIONAL.items():
        found = _version(name)
        remedy = f"not installed; pip install 'opendlign_mm[{extra}]'"
        checks.append(Check(name, found or remedy, True if found else None))
    return checks


def _version(name: str) -> str | None:
    if name == 'opendlign_mm':
        from ...version import __version__
        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _probed(what: str, probe: Callable[[], str]) -> Check:
    """Run a probe; whatever it raises is what the report is for."""
    try:
        return Check(what, probe(), True)
    except Exception as error:
        return Check(what, f'{type(error).__name__}: {error}'.splitlines()[0], False)


def _gpu() -> str:
    import torch
    if torch.cuda.is_available():
        torch.ones(8, device='cuda').sum().item()
        names = ', '.join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return f'{names} (CUDA {torch.version.cuda})'
    return f'none, the CPU is used ({torch.get_num_threads()} threads)'


def _mmcv_ops() -> str:
    import torch
    from mmcv.ops import box_iou_rotated
    boxes = torch.tensor([[0., 0., 2., 2., 0.]])
    overlap = box_iou_rotated(boxes, boxes).item()
    if abs(overlap - 1) > 1e-4:
        raise RuntimeError(f'a box overlaps itself by {overlap} instead of 1; build mmcv again')
    return 'work'


def _index() -> str:
    from ...apis.model_index import list_models
    entries = list_models()
    here = [entry.name for entry in entries if entry.available]
    return f'{len(entries)} models, of which here: {", ".join(here)}'


def _self_test() -> str:
    import numpy as np

    from ...apis.shape_inferencer import ShapeInferencer
    from ...datasets.procedural import CATEGORIES, sample_shape
    started = time.monotonic()
    clouds = [sample_shape(name, np.random.default_rng(0), 2000).points for name in SHAPES]
    inferencer = ShapeInferencer(show_progress=False)
    predictions = inferencer(clouds, classes=list(CATEGORIES))['predictions']
    named = [prediction.get('labels', [prediction.get('error')])[0] for prediction in predictions]
    right = sum(found == expected for found, expected in zip(named, SHAPES, strict=True))
    if right < len(SHAPES) - 1:
        raise RuntimeError(f'only {right} of {len(SHAPES)} built-in objects were recognized: {", ".join(named)}')
    return f'{right} of {len(SHAPES)} built-in objects recognized, in {time.monotonic() - started:.1f} s'
