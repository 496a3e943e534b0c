"""Pickles that hold nothing but arrays, read without running anything that they name.

Research models come as pickles of Python 2 with NumPy arrays, SciPy sparse matrices and chumpy arrays in a
dict. A pickle can name any function of any installed package to be called; here every name is looked up in a
short table of harmless stand-ins, and a name outside of it ends the reading. NumPy's own classes are not
among them: handed a crafted state, a dtype can be made to take numbers for pointers. chumpy and PyTorch need
not be
installed: a chumpy array is replaced by the ndarray that it wraps, a PyTorch tensor by nothing.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from jfrecon.errors import UserError


class _Inert:
    """Takes any arguments and keeps the state it is given, as far as that is a dict."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        self.state: dict = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _DType(_Inert):
    """`numpy.dtype`: a letter and a size, and the byte order from its state; numbers, text, or 'O' for objects."""

    def __init__(self, code: str = '', *flags: Any):
        self.code, self.order = code, '='

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def value(self) -> np.dtype:
        if not re.fullmatch(r'[biufcSUO]\d+', self.code) or self.order not in tuple('<>|='):
            raise pickle.UnpicklingError(f'the dtype {self.order}{self.code}')
        return np.dtype(self.order + self.code)


class _Array(_Inert):
    """`numpy.ndarray`: version, shape, dtype, whether in Fortran's order, and bytes, or a list of objects."""

    def __setstate__(self, state: Any) -> None:
        self.state = dict(zip(('version', 'shape', 'dtype', 'fortran', 'data'), state, strict=True))

    def value(self) -> Any:
        dtype, data, shape = self.state['dtype'].value(), self.state['data'], tuple(self.state['shape'])
        if dtype.hasobject:
            if shape or len(data) != 1:
                raise pickle.UnpicklingError('an array of objects')
            return _plain(data[0])
        data = data.encode('latin1') if isinstance(data, str) else bytes(data)
        return np.frombuffer(data, dtype).reshape(shape, order='F' if self.state['fortran'] else 'C').copy()


class _Tensor(_Inert):
    """In place of PyTorch's tensors and storages, whose own loader unpickles without a guard."""


class _Chumpy(_Inert):
    """`chumpy.ch.Ch`: the array is the entry 'x' of its state."""

    def value(self) -> np.ndarray:
        return np.asarray(_plain(self.state['x']))


class _Select(_Chumpy):
    """`chumpy.reordering.Select`: entries of the flattened array 'a', in a shape."""

    def value(self) -> np.ndarray:
        flat = np.asarray(_plain(self.state['a'])).ravel()[np.asarray(_plain(self.state['idxs']))]
        return flat.reshape(self.state.get('preferred_shape', flat.shape))


class _Csc(_Inert):
    """`scipy.sparse.csc_matrix`, built anew from its arrays."""

    kind: Any = sparse.csc_matrix

    def value(self) -> Any:
        entries = (_plain(self.state[key]) for key in ('data', 'indices', 'indptr'))
        matrix = self.kind(tuple(entries), shape=self.state.get('_shape', self.state.get('shape')))
        matrix.check_format()  # indices out of range would be read as memory
        return matrix


class _Csr(_Csc):
    kind: Any = sparse.csr_matrix


def _reconstruct(*args: Any) -> _Array:
    """numpy's _reconstruct: whatever it is asked for, an array whose state follows."""
    return _Array()


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """numpy's _frombuffer, for pickles of protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == 'F', buffer))
    return array


def _scalar(dtype: Any, data: Any = b'') -> Any:
    """numpy's scalar."""
    array = _Array()
    array.__setstate__((1, (1,), dtype, False, data))
    return array.value()[0]


def _new(cls: Any, *args: Any) -> Any:
    """copyreg._reconstructor: makes an instance without calling its constructor; of the stand-ins only."""
    if not (isinstance(cls, type) and issubclass(cls, _Inert)):
        raise pickle.UnpicklingError('an object of an unknown class')
    return cls()


def _encode(text: str, encoding: str = 'latin1') -> bytes:
    """_codecs.encode: how protocol 2 writes bytes."""
    return text.encode('latin1')


ADMITTED: dict[tuple[str, str], Any] = {
    ('numpy', 'dtype'): _DType,
    ('numpy', 'ndarray'): _Inert,  # named as an argument only
    ('__builtin__', 'object'): _Inert,
    ('builtins', 'object'): _Inert,
    ('__builtin__', 'dict'): dict,
    ('builtins', 'dict'): dict,
    ('collections', 'OrderedDict'): dict,
    ('copy_reg', '_reconstructor'): _new,
    ('copyreg', '_reconstructor'): _new,
    ('_codecs', 'encode'): _encode,
    ('chumpy.ch', 'Ch'): _Chumpy,
    ('chumpy', 'Ch'): _Chumpy,
    ('chumpy.reordering', 'Select'): _Select,
}
for _core in ('numpy.core', 'numpy._core'):
    ADMITTED[f'{_core}.multiarray', '_reconstruct'] = _reconstruct
    ADMITTED[f'{_core}.multiarray', 'scalar'] = _scalar
    ADMITTED[f'{_core}.numeric', '_frombuffer'] = _from_buffer
for _name, _class in (('csc', _Csc), ('csr', _Csr)):
    for _module in (f'scipy.sparse.{_name}', f'scipy.sparse._{_name}'):
        ADMITTED[_module, f'{_name}_matrix'] = _class
        ADMITTED[_module, f'{_name}_array'] = _class


TEXT_MODE = (
    'copied as text (git or FTP), which put a carriage return before every line feed: copy it again as binary (git: '
    "a line '*.pkl binary' in .gitattributes)"
)


class _Refused(pickle.UnpicklingError):
    """The pickle names something outside of `ADMITTED`."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.partition('.')[0] == 'torch':
            return _Tensor
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise _Refused(f'{module}.{name}') from None


def _plain(x: Any) -> Any:
    """Stand-ins replaced by what they stand for, inside dicts and lists too."""
    if isinstance(x, _Chumpy | _Csc | _Array):
        return x.value()
    if isinstance(x, dict):
        return {_text(key): _plain(value) for key, value in x.items() if not isinstance(value, _Tensor)}
    if isinstance(x, list | tuple):
        return type(x)(_plain(value) for value in x)
    return x


def _of_text_mode(data: bytes) -> bool:
    """Whether every line feed has a carriage return before it, which in binary files one in 256 has by chance."""
    return data.count(b'\n') == data.count(b'\r\n') > 0


def _text(key: Any) -> Any:
    return key.decode('latin1') if isinstance(key, bytes) else key


def loads(data: bytes, source: str | Path) -> Any:
    """What a pickle holds, made of dicts, lists, numbers, text, ndarrays and SciPy sparse matrices.

    Args:
      data: of any protocol, Python 2's text read as latin-1.
      source: the file's name, for the messages.

    Raises:
      UserError: damaged, or it names anything outside of `ADMITTED`; nothing has been run then.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(data), encoding='latin1').load())
    except Exception as error:  # damaged bytes raise anything, from EOFError to MemoryError
        if _of_text_mode(data):
            raise UserError(f'{source}: {TEXT_MODE}') from error
        if not isinstance(error, _Refused):
            raise UserError(f'{source}: damaged or not a pickle of arrays ({type(error).__name__})') from error
        raise UserError(
            f'{source}: refused, its pickle asks for {error}, which no file of arrays needs; get the file '
            'again from the official page'
        ) from error


def load(path: str | Path) -> Any:
    """`loads` of a .pkl file, or of the object that an .npy file holds.

    Raises:
      UserError: see `loads`, or the file cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror})') from error
    if data[:6] != b'\x93NUMPY':
        return loads(data, path)
    if _of_text_mode(data):  # a header ends in spaces and a line feed
        raise UserError(f'{path}: {TEXT_MODE}')
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = header(stream)
        if not dtype.hasobject:
            return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header raises anything
        raise UserError(f'{path}: not a complete .npy file ({type(error).__name__})') from error
    return loads(stream.read(), path)
