"""Pickles of NumPy arrays and plain values, read without running the code that a pickle may ask for.

``.npy`` files of objects and the info files of mmdet3d are pickles. Python's reader calls whatever function a pickle
names, and makes arrays of whatever size it names. This one knows the functions of NumPy's own pickles alone, and takes
an array only with all its bytes.
"""
import math
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# Kinds of NumPy's dtypes without structure, references or units.
_KINDS = 'biufcSU'
_ARRAY = object()  # stands for numpy.ndarray, which is named in pickles but never called


class _DType:
    """A dtype as a pickle describes it: kind and size, then the byte order as its state."""

    def __init__(self, spec: str, align: bool = False, copy: bool = False) -> None:
        self.dtype = np.dtype(spec)
        if self.dtype.kind not in _KINDS + 'O':
            raise pickle.UnpicklingError(f'it holds an array of {spec}, and only numbers, texts and objects are read')

    def __setstate__(self, state: tuple) -> None:
        if state[2:5] != (None, None, None):
            raise pickle.UnpicklingError('it holds a structured array, and only plain ones are read')
        self.dtype = self.dtype.newbyteorder(state[1])


def _reconstruct(kind: Any, shape: tuple, _: bytes) -> np.ndarray:
    if kind is not _ARRAY or shape != (0, ):
        raise pickle.UnpicklingError('it makes an array that does not have its values next to it')
    return np.zeros(0)


def _scalar(dtype: _DType, data: bytes) -> Any:
    if dtype.dtype.kind not in _KINDS:
        raise pickle.UnpicklingError('it holds a scalar that is an object')
    return np.frombuffer(data, dtype.dtype, count=1)[0]


def _from_buffer(data: Any, dtype: _DType, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it encodes text as {encoding}')
    return text.encode('latin1')


def _no_bytes() -> bytes:
    return b''


_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')
_KNOWN: dict[tuple[str, str], Any] = {
    **{(module, '_reconstruct'): _reconstruct for module in _MULTIARRAY},
    **{(module, 'scalar'): _scalar for module in _MULTIARRAY},
    **{(module, '_frombuffer'): _from_buffer for module in ('numpy.core.numeric', 'numpy._core.numeric')},
    ('numpy', 'ndarray'): _ARRAY, ('numpy', 'dtype'): _DType, ('_codecs', 'encode'): _encode,
    ('collections', 'OrderedDict'): OrderedDict,
    **{(module, kind.__name__): kind for module in ('builtins', '__builtin__') for kind in (set, frozenset)},
    ('__builtin__', 'bytes'): _no_bytes}


class _BoundedFile:
    """A file of which no more is read, nor memory reserved, than it has."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = os.fstat(file.fileno()).st_size - file.tell()

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise EOFError('it is truncated')
        self.left -= size
        return self.file.read(size)

    def readline(self) -> bytes:
        line = self.file.readline()
        self.left -= len(line)
        return line

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[:] = data
        return len(data)


# Python's own implementation, not the one in C: opcodes can be replaced, and its table of references does not grow to
# the largest number in the file.
class _RestrictedUnpickler(pickle._Unpickler):
    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'it holds a {module}.{name}, and only NumPy arrays and plain values are read '
                                         'from such files') from None

    def load_build(self) -> None:
        """Set the state of an array or a dtype; nothing else has one."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _DType):
            target.__setstate__(state)
        elif isinstance(target, np.ndarray):
            target.__setstate__(_array_state(*state))
        else:
            raise pickle.UnpicklingError(f'it sets the state of a {type(target).__name__}')

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        """Read a bytearray; Python's method reserves the memory before it reads."""
        size = int.from_bytes(self.read(8), 'little')
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _array_state(version: int, shape: tuple, dtype: _DType, is_fortran: bool, values: Any) -> tuple:
    """Return a state for ``numpy.ndarray.__setstate__`` whose values are as many as its shape says."""
    if not isinstance(dtype, _DType) or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise pickle.UnpicklingError('it holds an array without shape or dtype')
    expected, kind = math.prod(shape), list
    if dtype.dtype.kind != 'O':
        expected, kind = expected * dtype.dtype.itemsize, bytes
    if not isinstance(values, kind) or len(values) != expected:
        raise pickle.UnpicklingError('it holds an array with more or fewer values than its shape says')
    return version, tuple(shape), dtype.dtype, bool(is_fortran), values


def load_pickle(file: BinaryIO) -> Any:
    """Read the pickle at the position of an open file.

    Raises:
        EOFError, pickle.UnpicklingError: The file is truncated or holds other objects. A damaged pickle may raise
            almost any other exception.
    """
    bounded: Any = _BoundedFile(file)
    return _RestrictedUnpickler(bounded).load()


def read_pickle(path: str | Path, remedy: str) -> Any:
    """Read a pickle file.

    Args:
        path: The file.
        remedy: Where it comes from and what to do, for the message.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a whole pickle of arrays and plain values; the message names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path} does not exist. {remedy}')
    try:
        with open(path, 'rb') as file:
            return load_pickle(file)
    except Exception as error:  # a damaged pickle raises almost anything
        problem = str(error) or type(error).__name__
    raise ValueError(f'{path} cannot be read: {problem}. It may be damaged. {remedy}')
