"""The command ``opendlign``: from files to labels, without a config.

``opendlign --help`` imports none of PyTorch and mmdet3d: the modules of the sub-commands import them when they run.
"""
import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from ..version import __version__

COMMANDS = ('classify', 'detect', 'embed', 'index', 'search', 'models', 'download', 'convert', 'doctor', 'demo')
EXAMPLES = """examples:
  opendlign classify chair.obj --classes "chair,table,lamp"
  opendlign detect scan.ply --out result          # labeled boxes, as a table and as a page
  opendlign search my_index "a chair with arms"   # after: opendlign index my_shapes --out my_index
  opendlign COMMAND --help
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    parser = argparse.ArgumentParser(
        prog='opendlign', description='Name the objects in point clouds, meshes and scans, in words of your own.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version=f'opendlign_mm {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name in COMMANDS:
        module = import_module(f'.commands.{name}', __package__)
        summary = (module.__doc__ or '').strip()
        command = commands.add_parser(name, help=summary.partition('\n')[0].rstrip('.'), description=summary,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_options(command)
        command.add_argument('--traceback', action='store_true', help='show where an error was raised')
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Arguments, by default those of the process.

    Returns:
        0 if all was done, 1 if some inputs failed (they are listed), 2 if the command was used wrongly, 130 if it was
        interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 0
    try:
        args = parser.parse_args(arguments)
    except SystemExit as end:  # --help, --version, or wrong usage
        return int(end.code or 0)
    # Does nothing where importing the package has registered them: in all but `opendlign -- --help`.
    sys.modules[__package__.partition('.')[0]].register_components()
    from .user_errors import user_errors
    try:
        with user_errors(args.traceback):
            return args.run(args)
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has seen enough, as `head` does
        sys.stderr.close()
        return 0
