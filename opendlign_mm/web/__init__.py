"""Web page: classify, detect and search in the browser. ``launch`` needs Gradio: pip install 'opendlign_mm[demo]'."""
from .server import launch

__all__ = ['launch']
