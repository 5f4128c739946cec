"""Command-line options shared by the tools, and the config they produce."""
import argparse
import ast
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from torch import nn

from ..compat import detected_launcher, prepare_cpu_distributed
from ..config_options import read_config
from ..source_files import read_json


class ConfigOptions(DictAction):
    """Action of ``--cfg-options``: mmengine's, with lists of dicts in Python's notation in addition."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        """Store the options as a dict."""
        try:
            super().__call__(parser, namespace, values, option_string)
        except (RecursionError, AssertionError):
            parser.error(f'a value of {option_string} cannot be read: {" ".join(values)}; a list is key="[a,b]", and '
                         'one of dicts key="[{\'type\': \'A\'}]"')

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        if '{' not in val:
            return DictAction._parse_iterable(val)
        try:
            return ast.literal_eval(val)
        except (ValueError, SyntaxError):
            return val  # a template such as 'a photo of a {}'


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all tools that read the config of a model: those of mmdet3d's tools, and ``--traceback``."""
    parser.add_argument('--work-dir', help='directory for logs and checkpoints; default work_dirs/<name of the config>')
    add_config_options(parser, 'train_cfg.max_epochs=2')
    add_run_options(parser)


def add_config_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--cfg-options``, with an ``example`` in its help."""
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions,
                        help=f'changes to the config as key=value, e.g. {example}; lists as key="[a,b]" or key=a,b, '
                        'without blanks. A variable such as data_root changes all values made from it')


def parsed_options(options: Sequence[str]) -> dict[str, Any]:
    """Return ``key=value`` pairs as ``--cfg-options`` reads them."""
    parser = argparse.ArgumentParser()
    add_config_options(parser, 'key=value')
    return parser.parse_args(['--cfg-options', *options]).cfg_options if options else {}


def add_templates_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--templates``, which :func:`load_config` applies."""
    parser.add_argument('--templates', metavar='FILE', help="prompts of the classes: a JSON file such as the authors' "
                        'templates.json, of which the set of the test dataset is taken, or FILE#NAME; default: those '
                        'of the config')


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about the process: its launcher and the report of errors."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        help='what started this process; default pytorch under torchrun, otherwise none. '
                        'tools/dist_*.sh and tools/slurm_*.sh set it')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply the common options.

    Raises:
        FileNotFoundError: The config does not exist.
        ValueError: An option changes something that the config does not have, or that other values depend on.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    if getattr(args, 'templates', None):
        from ..apis.named_configs import classifier_of, set_templates  # imports the models
        set_templates(classifier_of(cfg, points=True), _templates_of_dataset(cfg, args.templates))
    cfg.launcher = args.launcher or detected_launcher()
    if cfg.launcher != 'none':
        defaults = dict(type='DistributedWhereTrained', broadcast_buffers=False,
                        find_unused_parameters=cfg.get('find_unused_parameters', False))
        cfg.model_wrapper_cfg = dict(defaults, **(cfg.get('model_wrapper_cfg') or {}))
    prepare_cpu_distributed(cfg, cfg.launcher)
    return cfg


def _templates_of_dataset(cfg: Config, templates: str) -> str:
    """Return ``FILE#NAME`` where a file of several sets has one set of the test dataset, by its name or type."""
    if not Path(templates).is_file():
        return templates
    dataset, sets = (cfg.get('test_dataloader') or {}).get('dataset') or {}, read_json(templates)
    names = {_letters(dataset.get('dataset', '')), _letters(dataset.get('type', ''))}
    found = [key for key in sets if any(name.startswith(_letters(key)) for name in names)] if isinstance(
        sets, dict) else []
    return f'{templates}#{found[0]}' if len(found) == 1 else templates


def _letters(name: str) -> str:
    return name.lower().replace('_', '').replace('-', '')


def load_generation_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` for a stage of image generation and apply ``args.cfg_options``.

    Raises:
        FileNotFoundError: The config does not exist.
        ValueError: It is not a config of image generation, or an option does not fit it.
    """
    cfg = read_config(args.config, args.cfg_options)
    absent = [key for key in ('source', 'out_dir', 'generator') if cfg.get(key) is None]
    if absent:
        raise ValueError(f'{args.config} has no {", ".join(absent)}; configs/generation/ has configs of image '
                         'generation')
    init_default_scope('mmdet3d')
    return cfg


def describe_model(model: nn.Module) -> str:
    """Return one line with the CLIP in the model, if there is one, and the number of trained parameters."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters())
    clips = [module.clip_name for module in model.modules() if hasattr(module, 'clip_name')]
    return f'CLIP: {", ".join(clips) or "none"}; parameters trained: {trained:,} of {total:,}'
