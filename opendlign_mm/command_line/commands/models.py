"""List the models that have a name.

  opendlign models
  opendlign models --json
"""
import argparse

from ..results import add_json_option, print_json, print_table


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the models of the index."""
    from ...apis.model_index import list_models
    entries = list_models()
    if args.json:
        print_json([dict(
            name=entry.name, config=str(entry.config), repo=entry.repo, file=entry.file, url=entry.url,
            sha256=entry.sha256, size=entry.size, data=entry.data, license=entry.license,
            results={dataset: metrics for dataset, metrics in entry.results}, available=entry.available)
            for entry in entries])
        return 0
    print_table(['name', 'here', 'size', 'trained on', 'published results', 'license'], [
        (entry.name, 'yes' if entry.available else 'no', _size(entry.size, entry.available), entry.data,
         ', '.join(f'{dataset} {next(iter(metrics.values()))}' for dataset, metrics in entry.results) or '-',
         entry.license) for entry in entries], 'Models (opendlign download NAME gets the weights of one)')
    return 0


def _size(size: int | None, is_exact: bool) -> str:
    if size is None:
        return '?'
    text = f'{size / 1e9:.1f} GB' if size >= 1e8 else f'{size / 1e6:.1f} MB'
    return text if is_exact else f'about {text}'
