"""Inputs of the rows of the paper's tables: configs, data, checkpoints and prompts, and the commands with them."""
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..apis.model_entry import read_index
from ..config_options import read_config
from .input_sources import checkpoint_source, data_source, prompts_file
from .options import parsed_options
from .table_rows import Run, Training

PACKAGED = {'opendlign-tiny': Path(__file__).resolve().parents[1] / 'assets/opendlign_tiny.safetensors'}
# Parts of a config with the inputs of a test and of a training.
TEST_PARTS, TRAINING_PARTS = ('model', 'test_dataloader'), ('model', 'train_dataloader', 'val_dataloader')
TOOLS = {'test': 'test.py', 'few_shot': 'few_shot.py'}


@dataclass(frozen=True)
class RunInputs:
    """Configs, data, checkpoints and prompts of runs, and the commands with them.

    Attributes:
        root: Folder with ``configs`` and ``tools``.
        out: Folder of the results; finished measurements in it are kept.
        checkpoints: Folder of checkpoints.
        data_root: Folder in the place of ``data`` in the configs.
        seeds: Number of draws of few-shot classification; None keeps that of the row.
        templates: The authors' file of templates; None looks for it in ``data_root``.
    """
    root: Path
    out: Path
    checkpoints: Path
    data_root: Path = Path('data')
    seeds: int | None = None
    templates: Path | None = None
    _configs: dict[tuple, Config] = field(default_factory=dict, init=False, repr=False)

    def folder(self, run: Run) -> Path:
        """Return the folder of a run, the same for equal runs of several tables."""
        name = f'{Path(run.config).stem} {run.column}'
        return self.out / 'runs' / f'{"".join(c if c.isalnum() else "_" for c in name).lower()}_{run.key}'

    def command(self, run: Run) -> list[str]:
        """Return the command of a run: tool, config, checkpoint and options.

        Raises:
            FileNotFoundError: A checkpoint, or data that the config names, is not there; the message says how to get
                it.
        """
        options = self._options_of(run)
        options += self._inputs(self._config(run.config, options), TEST_PARTS, run.rooms)
        prompts = prompts_file(self.templates, self.data_root) if run.authors_prompts else None
        checkpoint = self.checkpoint_of(run)
        training = run.checkpoint if isinstance(run.checkpoint, Training) else None
        while training is not None and not self.trained(training).is_file():
            self.training_options(training)
            training = training.clip
        seeds = ['--seeds', str(self.seeds)] if run.kind == 'few_shot' and self.seeds else []
        return [str(self.root / 'tools' / TOOLS[run.kind]), str(self.root / 'configs' / run.config),
                *([] if checkpoint is None else [str(checkpoint)]), '--work-dir', str(self.folder(run)),
                *run.arguments, *seeds, *([] if prompts is None else ['--templates', str(prompts)]),
                *(['--cfg-options', *options] if options else [])]

    def made_from(self, run: Run) -> dict[str, Any]:
        """Return what a measurement depends on: command, and contents of config, checkpoint and prompts."""
        checkpoint = self.checkpoint_of(run)
        found = dict(command=self.command(run)[1:], config=_content(self._config(run.config, self._options_of(run))),
                     checkpoint='' if checkpoint is None else _file_hash(checkpoint))
        prompts = prompts_file(self.templates, self.data_root) if run.authors_prompts else None
        return {**found, **({} if prompts is None else dict(prompts=_file_hash(prompts)))}

    def missing(self, run: Run) -> str:
        """Return why a run cannot be measured, or '' if all of its inputs are there."""
        try:
            self.command(run)
        except (FileNotFoundError, ValueError) as error:
            return str(error)
        return ''

    def _config(self, config: str, options: Sequence[str]) -> Config:
        key = (config, *options)
        if key not in self._configs:
            self._configs[key] = read_config(self.root / 'configs' / config, parsed_options(options))
        return self._configs[key]

    def checkpoint_of(self, run: Run) -> Path | None:
        """Return the checkpoint of a run, None if it needs none; one that is still to be trained need not exist.

        Raises:
            FileNotFoundError: A published one is not there; the message says how to get it.
        """
        if run.checkpoint is None:
            return None
        if isinstance(run.checkpoint, Training):
            return self.trained(run.checkpoint)
        return self._published(run.checkpoint)

    def _published(self, name: str) -> Path:
        downloaded = next((entry.checkpoint for entry in read_index() if entry.name == name.replace('_', '-')), None)
        for path in (PACKAGED.get(name), self.checkpoints / f'{name}.pth', self.checkpoints / f'{name}.safetensors',
                     downloaded):
            if path is not None and path.is_file():
                return path
        raise FileNotFoundError(f'no {name}.pth in {self.checkpoints}: {checkpoint_source(name)}')

    def trained(self, training: Training) -> Path:
        """Return the checkpoint of a training, which need not exist; another config has another folder."""
        cfg = self._config(training.config, [*training.options, *self._clip_options(training)])
        about = hashlib.sha256(f'{_content(cfg)}{self.data_root.resolve()}'.encode()).hexdigest()[:10]
        name = f'{Path(training.config).stem}_{about}'
        return self.out / 'trained' / name / f'epoch_{cfg.train_cfg.max_epochs}.pth'

    def _inputs(self, cfg: Config, parts: Sequence[str], rooms: bool = False) -> list[str]:
        """Return the options that lead the paths below data/ and checkpoints/ to the folders that were given.

        Raises:
            FileNotFoundError: A path does not exist.
        """
        options = []
        for name, value in (leaf for part in parts for leaf in _leaves(cfg.get(part), part)):
            first, *rest = Path(value).parts or ('', )
            if first == 'data' and rest:
                made = rooms and rest[0] == 'rooms'
                path = self.out.joinpath(*rest) if made else self.data_root.joinpath(*rest)
                if not made and not path.exists():
                    raise FileNotFoundError(f'{path} does not exist: {data_source(rest[0])}')
            elif first == 'checkpoints' and len(rest) == 1:
                path = self._published(Path(value).stem)
            else:
                continue
            options += [f'{name}={path}'] * (str(path) != value)
        return options

    def _clip_options(self, training: Training) -> tuple[str, ...]:
        """Return the option with the CLIP of a training that follows on another one; its file need not exist."""
        if training.clip is None:
            return ()
        return (f'model.backbone.pretrained={self.trained(training.clip).with_name(training.clip_file)}', )

    def _options_of(self, run: Run) -> list[str]:
        return [*run.options, *(self._clip_options(run.checkpoint) if isinstance(run.checkpoint, Training) else ())]

    def training_options(self, training: Training) -> list[str]:
        """Return the options of a training.

        Raises:
            FileNotFoundError: Data is not there; the message says how to get it.
        """
        options = [*training.options, *self._clip_options(training)]
        return [*options, *self._inputs(self._config(training.config, options), TRAINING_PARTS)]


def _leaves(node: Any, name: str) -> list[tuple[str, str]]:
    """Return (dotted name, value) of all strings in a part of a config."""
    if isinstance(node, str):
        return [(name, node)]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    return [leaf for key, item in items for leaf in _leaves(item, f'{name}.{key}')]


def _content(cfg: Config) -> str:
    return hashlib.sha256(json.dumps(cfg.to_dict(), sort_keys=True, default=repr).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
