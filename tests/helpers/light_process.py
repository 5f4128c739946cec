"""Spare the tests what libraries do in each of many small runs, which took most of the time."""
import ast
import gc

from mmengine.config import config
from torch.utils.data import _utils as loading


def lighten_process() -> None:
    """Leave the text of configs as it is, and forget what has been imported when garbage is collected.

    mmengine lays out the text of a config by yapf several times in a run, a quarter of a second each; that it is
    Python is still checked. Its datasets collect garbage, which looks at each object of all imported libraries (half
    a second). Data workers that have lost their loader are waited for by steps of five seconds.
    """
    config.FormatCode = _checked
    loading.MP_STATUS_CHECK_INTERVAL = .5
    keep_what_is_imported()


def keep_what_is_imported() -> None:
    """Exempt all present objects from garbage collection."""
    gc.collect()
    gc.freeze()


def _checked(code: str, **_: object) -> tuple[str, bool]:
    ast.parse(code)
    return code, True
