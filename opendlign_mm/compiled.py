"""Functions compiled by numba, also where numba has no folder for its cache."""
from collections.abc import Callable

import numba as nb


def compiled(**options) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function, without the GIL, when it is first called.

    The machine code is cached next to the source or in the user's cache folder ($NUMBA_CACHE_DIR overrides both). In a
    read-only install without a writable home there is no such folder, and each process compiles for itself.

    Args:
        options: Further options of ``numba.njit``.
    """
    def decorate(function: Callable) -> Callable:
        try:
            return nb.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba has no locator for the cache
            return nb.njit(nogil=True, **options)(function)

    return decorate
