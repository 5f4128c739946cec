"""What the inferencers share: inputs in, one prediction for each, a broken one reported in its place, files out."""
import json
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from torch import nn
from tqdm import tqdm

from ..atomic_files import atomic_write
from ..file_keys import file_key, readable_text
from ..models.precision import Precision
from ..point_files import list_inputs
from ..source_files import is_error_of_machine
from .init_model import init_model, set_precision

# What readers, projections and detectors raise for an input that cannot be used.
INPUT_ERRORS = (OSError, ValueError, TypeError, RuntimeError, ImportError, EOFError)


@dataclass
class LoadedInput:
    """One input on its way through an inferencer.

    Attributes:
        name: Path, address, or ``'input N'`` of an array.
        key: Name of its files in ``out_dir``; differs between the inputs of one call.
        data: What the model takes; None if it could not be read.
        error: Why it cannot be used; '' if it can.
    """
    name: str
    key: str
    data: Any = None
    error: str = ''


class PointInferencer(BaseInferencer):
    """Base class of inferencers of points: mmengine's, with inputs that may fail one by one.

    Args:
        model: Name of a model, path of a config, or the config itself.
        weights: Checkpoint; by default that of the named model, or none.
        device: Device, by default the GPU if there is one.
        cfg_options: Changes to the config.
        show_progress: Whether to show a progress bar.
        precision: Precision of the frozen image tower, see :class:`CLIPDepthBackbone`; default: that of the config.
        templates: Prompt templates in the place of the config's, see :func:`.named_configs.set_templates`.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        ValueError: The name of the model is unknown, or the model has no such precision.
        RuntimeError: The checkpoint belongs to another model.
    """

    title = 'inputs'
    postprocess_kwargs = {'pred_out_file'}

    def __init__(self, model: str | Path | Config = 'opendlign-tiny', weights: str | Path | None = None,
                 device: str | torch.device | None = None, cfg_options: dict | None = None,
                 show_progress: bool = True, precision: Precision | None = None,
                 templates: str | Path | Sequence[str] | None = None) -> None:
        self.templates = templates
        cfg, checkpoint = self._read_config(model, weights, cfg_options or {})
        if precision is not None:
            set_precision(cfg.model, precision)
        super().__init__(cfg, checkpoint, None if device is None else str(device), 'mmdet3d', show_progress)

    @abstractmethod
    def _read_config(self, model: str | Path | Config, weights: str | Path | None, options: dict
                     ) -> tuple[Config, str | None]:
        """Return the config of the model and its checkpoint."""

    @abstractmethod
    def _load(self, source: Any, **kwargs) -> Any:
        """Return what the model takes of one input."""

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> nn.Module:
        return init_model(cfg, weights, device)

    def _init_pipeline(self, cfg: Config) -> Any:
        return self._load

    def _init_collate(self, cfg: Config) -> Any:
        """Leave a batch as it is, a list of inputs some of which may have failed."""
        return list

    def _init_visualizer(self, cfg: Config) -> None:
        """Return none: results are drawn by the functions of :mod:`opendlign_mm.visualization`."""

    def __call__(self, inputs: Any, batch_size: int = 1, **kwargs) -> dict[str, list]:
        """Run the model on inputs.

        Args:
            inputs: One input or a list of them.
            batch_size: Number of inputs at a time.
            kwargs: Arguments of :meth:`preprocess`, :meth:`forward`, :meth:`visualize` and :meth:`postprocess`.

        Returns:
            ``predictions``: a dict for each input, in their order; of one that cannot be used
            ``dict(input=..., error=...)``. ``visualization``: an image of each, if asked for.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        for_preprocess, for_forward, for_visualize, for_postprocess = self._dispatch_kwargs(**kwargs)
        self._check_options(**for_preprocess)
        check_out_files(for_visualize.get('out_dir'), for_postprocess.get('pred_out_file'))
        predictions: list[dict] = []
        visualization: list[np.ndarray | None] = []
        self._begin(**for_visualize)
        for batch in self.preprocess(self._inputs_to_list(inputs), batch_size, **for_preprocess):
            found = self.forward(batch, **for_forward)
            visualization += self.visualize(batch, found, **for_visualize)
            predictions += [self._public(prediction) for prediction in found]
        self._end(**for_visualize)
        return self.postprocess(predictions, visualization, **for_postprocess)

    def _check_options(self, **kwargs) -> None:
        """Refuse values of the options of :meth:`preprocess`, which would be an error of each input."""

    def _begin(self, **kwargs) -> None:
        """Prepare what :meth:`visualize` writes for all inputs together."""

    def _end(self, **kwargs) -> None:
        """Finish what :meth:`visualize` writes for all inputs together."""

    def _public(self, prediction: dict) -> dict:
        """Return a prediction without what only :meth:`visualize` needs."""
        return {key: value for key, value in prediction.items() if not key.startswith('_')}

    def _inputs_to_list(self, inputs: Any) -> list:
        return list_inputs(inputs)

    def preprocess(self, inputs: Sequence, batch_size: int = 1, **kwargs) -> Iterator[list[LoadedInput]]:
        """Read the inputs, with a progress bar; yield them in lists of ``batch_size``."""
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        named = list(zip(inputs, input_names(inputs), output_keys(inputs), strict=True))
        progress = tqdm(named, desc=self.title, unit='input', disable=not self.show_progress or len(named) < 2)
        yield from self._get_chunk_data(map(partial(self._read, **kwargs), progress), batch_size)

    def _read(self, entry: tuple[Any, str, str], **kwargs) -> LoadedInput:
        source, name, key = entry
        loaded = LoadedInput(name, key)
        try:
            loaded.data = self.pipeline(source, **kwargs)
        except INPUT_ERRORS as error:
            loaded.error = reason_of(error)
        return loaded

    def postprocess(self, preds: list[dict], visualization: list, return_datasample: bool = False,
                    pred_out_file: str | Path = '') -> dict[str, list]:
        """Return the results; write the predictions to ``pred_out_file`` (JSON), if one is given."""
        if pred_out_file:
            write_predictions(preds, pred_out_file)
        return dict(predictions=preds, visualization=visualization)


def reason_of(error: Exception) -> str:
    """Return why an input cannot be used, as one line.

    Raises:
        Exception: The error itself, if it is about the machine (a full disk, no memory) and not about the input.
    """
    if is_error_of_machine(error) or isinstance(error, torch.cuda.OutOfMemoryError):
        raise error
    return ' '.join(readable_text(str(error) or type(error).__name__).split())


def input_names(inputs: Sequence) -> list[str]:
    """Return how messages and results call inputs: their paths and addresses, and the numbers of arrays from 1."""
    return [readable_text(str(source)) if isinstance(source, (str, Path)) else f'input {number}'
            for number, source in enumerate(inputs, start=1)]


def output_keys(inputs: Sequence) -> list[str]:
    """Return a name for the files of each input, which differ: with as many folders of its path as tell it apart."""
    paths = [Path(name) for name in input_names(inputs)]
    keys = [path.stem or 'input' for path in paths]
    depth, most = 2, max((len(path.parts) for path in paths), default=0)
    while depth <= most + 1 and len(set(keys)) < len(keys):
        counts = Counter(keys)
        keys = [_joined(path, depth) if counts[key] > 1 else key for path, key in zip(paths, keys, strict=True)]
        depth += 1
    # The same file twice, or two files that differ in their ending alone.
    counts = Counter(keys)
    keys = [path.name if counts[key] > 1 and counts[path.name] == 0 else key
            for path, key in zip(paths, keys, strict=True)]
    used: Counter[str] = Counter()
    unique = []
    for key in keys:
        used[key] += 1
        while used[key] > 1 and f'{key}-{used[key]}' in keys:
            used[key] += 1
        unique.append(key if used[key] == 1 else f'{key}-{used[key]}')
    return [file_key(key.replace(' ', '_')) for key in unique]


def _joined(path: Path, depth: int) -> str:
    parts = [part.strip('/') or 'root' for part in (*path.parts[:-1], path.stem)]
    return '__'.join(parts[-depth:])


def check_out_files(out_dir: str | Path | None, pred_out_file: str | Path | None) -> None:
    """Refuse places that cannot be written before minutes of work.

    Raises:
        ValueError: ``pred_out_file`` does not end in .json or is a folder, or ``out_dir`` is a file.
    """
    if out_dir and Path(out_dir).expanduser().exists() and not Path(out_dir).expanduser().is_dir():
        raise ValueError(f'out_dir={str(out_dir)!r} is a file; give a folder')
    if pred_out_file and (Path(pred_out_file).suffix != '.json' or Path(pred_out_file).expanduser().is_dir()):
        raise ValueError(f'pred_out_file must be a .json file, got {str(pred_out_file)!r}')


def write_predictions(predictions: list[dict], path: str | Path) -> None:
    """Write predictions as JSON, whole or not at all; arrays become lists, views are left out."""
    with atomic_write(Path(path).expanduser()) as unfinished:
        unfinished.write_text(json.dumps(dict(predictions=[plain(each) for each in predictions]), indent=1,
                                         allow_nan=False) + '\n', encoding='utf-8')


def plain(value: Any) -> Any:
    """Return a value in types of JSON: lists for arrays, null for numbers that are not finite, nothing for views."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != 'views'}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show_image(image: np.ndarray, title: str) -> None:
    """Show an image in the notebook, or in a window.

    Raises:
        RuntimeError: There is neither; the message says what to do.
    """
    from PIL import Image
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        get_ipython = None
    if get_ipython is not None and get_ipython() is not None:
        display(Image.fromarray(image))
        return
    import matplotlib
    from matplotlib import pyplot
    if matplotlib.get_backend().lower() in ('agg', 'pdf', 'svg', 'ps', 'cairo', 'template'):
        raise RuntimeError('show=True needs a notebook or a display; give out_dir=... for files instead')
    figure = pyplot.figure(title)
    pyplot.imshow(image)
    pyplot.axis('off')
    pyplot.show()
    pyplot.close(figure)
