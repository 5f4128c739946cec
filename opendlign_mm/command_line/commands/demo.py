"""Open the web page: classify, detect and search in the browser.

  opendlign demo --port 7860
  opendlign demo --index my_index                 # search these shapes, too
  opendlign demo --views both                     # colors of the points count, too

It is reachable from this machine only, unless --host or --share says otherwise. It needs: pip install
'opendlign_mm[demo]'
"""
import argparse
from importlib.util import find_spec

from ..results import DEFAULT_MODEL, add_views_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0: any machine may connect')
    parser.add_argument('--port', type=int, default=7860)
    parser.add_argument('--share', action='store_true', help='make a public address for three days (gradio.live)')
    parser.add_argument('--model', default=DEFAULT_MODEL, help='name or config of a model')
    parser.add_argument('--index', help='folder that opendlign index wrote with the same model')
    parser.add_argument('--device', help='cpu, cuda or cuda:1; default: a GPU if there is one')
    add_views_option(parser)


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    if find_spec('gradio') is None:
        raise ImportError("the web page needs gradio: pip install 'opendlign_mm[demo]'")
    from ...web import launch
    launch(host=args.host, port=args.port, share=args.share, model=args.model, device=args.device,
           index=args.index, views=args.views)
    return 0
