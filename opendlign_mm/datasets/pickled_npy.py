"""Object arrays in npy files, without the risk of pickle: only NumPy arrays and plain Python values are let in."""
import pickle
from pathlib import Path
from typing import Any, Union

import numpy as np

_NAMES = {'_reconstruct', 'scalar', 'ndarray', 'dtype', '_frombuffer'}
_PACKAGES = {'numpy', 'numpy.core.multiarray', 'numpy._core.multiarray', 'numpy.core.numeric', 'numpy._core.numeric',
             'numpy.dtypes'}


class _ArrayUnpickler(pickle.Unpickler):

    def find_class(self, module: str, name: str) -> Any:
        known = module in _PACKAGES and (name in _NAMES or name.endswith('DType'))
        if not known and (module, name) != ('_codecs', 'encode'):
            raise pickle.UnpicklingError(f'it holds a {module}.{name}, and only NumPy arrays are read from such files')
        return super().find_class(module, name)


def load_npy(path: Union[str, Path]) -> np.ndarray:
    """Read an npy file, also one of Python dicts of arrays such as OpenShape's.

    ``numpy.load(allow_pickle=True)`` runs whatever code a file asks for; this reads arrays and plain values only.

    Raises:
        ValueError, EOFError, pickle.UnpicklingError: The file is not a whole npy file or holds other objects.
    """
    with open(path, 'rb') as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if not dtype.hasobject:
            file.seek(0)
            return np.load(file)
        array = _ArrayUnpickler(file).load()
    if not isinstance(array, np.ndarray):
        raise ValueError('it holds no array')
    return array.reshape(shape)
