"""Convert a checkpoint: a released one to this project's format, one of a training to its trained part, or back.

  opendlign convert released.pt opendlign_b16.safetensors --model opendlign-b16
  opendlign convert work_dirs/opendlign_tiny/epoch_10.pth aligned.safetensors --model opendlign-tiny
  opendlign convert aligned.safetensors released.pt --model opendlign-tiny --to-release
"""
import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('source', help='checkpoint to read')
    parser.add_argument('destination', help='checkpoint to write; .safetensors or .pth')
    parser.add_argument('--model', required=True, help='name (see: opendlign models) or config of the model')
    parser.add_argument('--to-release', action='store_true', help="write the release's layout")
    parser.add_argument('--trained-only', action='store_true', help='of a release: leave out the frozen CLIP')


def run(args: argparse.Namespace) -> int:
    """Convert one checkpoint, by what it and the model are."""
    from ...apis import convert_checkpoint as convert
    from ...apis.model_entry import read_index
    from ...apis.model_index import resolve_model
    from ...config_options import read_config
    from ...models.checkpoints import read_checkpoint
    configs = {entry.name: entry.config for entry in read_index()}
    # The weights of the name are what is being made: only its config is looked up.
    config = configs.get(args.model) or resolve_model(args.model)[0]
    places = args.source, args.destination, config
    if not Path(args.source).is_file():
        raise FileNotFoundError(f'checkpoint {args.source} does not exist')
    if read_config(config).model.type == 'ThreeDETR':
        convert.convert_3detr(*places, to_release=args.to_release)
    elif args.to_release:
        convert.opendlign_to_release(*places)
    elif 'state_dict' in read_checkpoint(args.source, mmap=True, allowed=convert.ALLOWED):
        convert.save_trained_part(*places)
    else:
        convert.opendlign_from_release(*places, trained_only=args.trained_only)
    return 0
