#!/usr/bin/env python
"""Write the page that says which of open_clip's models have a branch tuned to depth views, and why others have none.

    python tools/analysis_tools/list_clips.py --out configs/opendlign/clips.md

Each model is built without memory for its weights. Nothing is downloaded.
"""
import argparse
import contextlib
import io
import logging
import os
import warnings
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # before the libraries look; else each absent file waits for the network

import open_clip
import torch
from mmengine.config import Config
from tqdm import tqdm

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.models import CLIPDepthBackbone


class Clip(NamedTuple):
    """One of open_clip's models: its trained parameters, or the reason why it has no tuned branch."""
    name: str
    trained: int
    reason: str


def examine(name: str) -> Clip:
    """Build a model with its tuned branch on the meta device."""
    try:
        with torch.device('meta'):
            backbone = CLIPDepthBackbone(name, pretrained=None)
    except ValueError as error:
        return Clip(name, 0, str(error).split(': ', 1)[1].split(',')[0])
    except OSError:  # transformers looks for the configuration of the text tower
        return Clip(name, 0, "its text tower is not open_clip's: its configuration is on the Hugging Face hub")
    return Clip(name, sum(value.numel() for value in backbone.parameters() if value.requires_grad), '')


def configs_by_clip() -> dict[str, str]:
    """Return the config that trains each CLIP, by the name of the CLIP."""
    found: dict[str, str] = {}
    for path in sorted((Path(__file__).parents[2] / 'configs').glob('opendlign_*.py'), key=lambda path: len(path.stem)):
        model = Config.fromfile(path).model
        if model.type == 'OpenDlign':
            found.setdefault(model.backbone.clip, path.stem)
    return found


def page(clips: list[Clip]) -> str:
    """Return the page as Markdown."""
    tuned, others = [clip for clip in clips if not clip.reason], [clip for clip in clips if clip.reason]
    configs = configs_by_clip()
    return '\n'.join([
        '# CLIPs', '',
        f'{len(tuned)} of the {len(clips)} models of open_clip {open_clip.__version__} have a branch that is tuned to',
        'depth views: `model.backbone.clip=NAME model.backbone.pretrained=TAG`, and for a CLIP outside the paper',
        '`model.backbone.pixel_mean=clip model.backbone.pixel_std=clip`. The others have the pretrained branch alone',
        '(`num_blocks=0`). This page is the result of',
        '`python tools/analysis_tools/list_clips.py --out configs/opendlign/clips.md`.',
        '', '| CLIP | trained parameters in millions | config |', '|---|---|---|',
        *[f'| `{clip.name}` | {clip.trained / 1e6:.2f} | {_link(configs.get(clip.name))} |' for clip in tuned],
        '', '| CLIP without a tuned branch | reason |', '|---|---|',
        *[f'| `{clip.name}` | {clip.reason} |' for clip in others], ''])


def _link(config: str | None) -> str:
    return f'[{config}](../{config}.py)' if config else ''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='Markdown file to write')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter('ignore')
    clips = []
    for name in tqdm(open_clip.list_models(), unit='CLIP'):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            clips.append(examine(name))
    with atomic_write(args.out) as unfinished:
        unfinished.write_text(page(clips))


if __name__ == '__main__':
    main()
