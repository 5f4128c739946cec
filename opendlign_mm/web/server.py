"""Serve the page: on this machine only unless told otherwise, without telemetry, with its own temporary folder."""
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..models.color_views import Views


def launch(host: str = '127.0.0.1', port: int = 7860, share: bool = False, model: str = 'opendlign-tiny',
           device: str | None = None, index: str | Path | None = None, block: bool = True, views: 'Views | None' = None
           ) -> Any:
    """Serve the page until it is interrupted.

    Uploads and results are kept in a temporary folder for half an hour, and removed with it in the end.

    Args:
        host: Address to listen on; '0.0.0.0' lets other machines connect.
        port: Port to listen on.
        share: Whether to make a public address for a few days, through gradio.live.
        model: Name or config of a model.
        device: Device, by default the GPU if there is one.
        index: Folder of an index of shapes to search besides the built-in ones; made by the same model.
        block: Whether to wait until the page is interrupted. Otherwise the running page is returned, which has
            ``close()``; the temporary folder is then left to the end of the process.
        views: What the model looks at: ``'depth'``, ``'color'`` or ``'both'``; default: what its config says, depth.

    Raises:
        ImportError: Gradio is not installed.
        OSError: The port is in use, or the address cannot be used; the message says what to do.
        ValueError: The index was made by another model, or the model does not have such views.
    """
    if not 0 < port < 65536:
        raise ValueError(f'the port must be from 1 to 65535, got {port}')
    check_port(host, port)
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
    try:
        import gradio as gr
    except ImportError as error:
        raise ImportError("the web page needs gradio: pip install 'opendlign_mm[demo]'") from error
    from .jobs import MAX_BYTES, Jobs
    from .page import CSS, build_page
    jobs = Jobs(model, device, index, views)
    _ = jobs.shapes  # loads the model: what is wrong with it is told now, and the first visitor does not wait
    if index is not None:
        _ = jobs.indices
    with _temporary_folder(block):
        page = build_page(jobs)
        page.launch(server_name=host, server_port=port, share=share, prevent_thread_lock=True, quiet=True,
                    show_error=True, max_file_size=MAX_BYTES, ssr_mode=False, mcp_server=False, css=CSS,
                    theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace']),
                    footer_links=[], strict_cors=True, state_session_capacity=50)
        print(f'the page is at {page.local_url}' + f' and at {page.share_url}' * bool(share and page.share_url) +
              '; Ctrl+C ends it', flush=True)
        if block:
            page.block_thread()
        return page


def check_port(host: str, port: int) -> None:
    """Raise ``OSError`` with one message if nothing can listen at an address."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                problem = f'port {port} of {host} is in use; end what uses it or choose another one with --port'
            elif error.errno == errno.EACCES:
                problem = f'port {port} needs the rights of root; choose one from 1024 on with --port'
            else:
                problem = f'{host} is not an address of this machine ({error}); give another one with --host'
            raise OSError(problem) from error


@contextmanager
def _temporary_folder(remove: bool) -> Iterator[None]:
    """Let Gradio keep its files in a folder of its own."""
    folder, before = tempfile.mkdtemp(prefix='opendlign-page-'), os.environ.get('GRADIO_TEMP_DIR')
    os.environ['GRADIO_TEMP_DIR'] = folder
    try:
        yield
    finally:
        if remove:
            shutil.rmtree(folder, ignore_errors=True)
            os.environ.pop('GRADIO_TEMP_DIR')
            if before is not None:
                os.environ['GRADIO_TEMP_DIR'] = before
