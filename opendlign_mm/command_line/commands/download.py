"""Download and convert the weights of models by name.

  opendlign download opendlign-b16 3detr-m-scannet

HF_ENDPOINT names a mirror of the hub, HF_HUB_OFFLINE=1 forbids downloads. Converted weights are kept in
$OPENDLIGN_CACHE (~/.cache/opendlign_mm); the downloaded file may then be removed from the cache of the hub.
"""
import argparse
import sys

from ..results import note


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('names', nargs='+', metavar='NAME', help='name of a model, see: opendlign models')


def run(args: argparse.Namespace) -> int:
    """Download the models one after the other; one that fails does not stop the others."""
    from ...apis.model_download import download_model
    from ...apis.model_index import find_model
    failed = 0
    for entry in [find_model(name) for name in args.names]:
        try:
            print(f'{entry.name}\t{download_model(entry, progress=sys.stderr.isatty())}')
        except (FileNotFoundError, ValueError) as error:
            note(f'failed: {error}')
            failed += 1
    return 1 if failed else 0
