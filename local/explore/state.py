"""What a scenario's world holds at one moment, as a digest: worlds that are alike go on alike."""

import array
import asyncio
import collections
import enum
import functools
import hashlib
import itertools
import logging
import operator
import random
import re
import types
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from local.explore.paths import Opaque

View = Callable[[Any], Any]
"""What of an object counts for what comes after."""

_SCALARS = frozenset({str, bytes, int, float, bool, type(None), complex, range, type(...)})
_TOLD_BY_REPR = (datetime, date, timedelta, tzinfo, re.Pattern, itertools.count, operator.itemgetter)
_NAMED = (type, types.ModuleType, types.GenericAlias)
_PLAIN = (str, bytes, int, float, dict, list, tuple, set, frozenset, collections.deque, BaseException)
_ASYNCIO = str(Path(asyncio.__file__).parent)
_HEAP_TYPE = 1 << 9
"""CPython's flag of classes that were not compiled in."""


def told(roots: Iterable[Any], views: Mapping[type, View]) -> tuple[bytes, Collection[int]]:
    """The digest of all that can be reached from `roots`: attributes, items, what functions close over.

    Tasks and suspended coroutines are told by where they stand and by their variables. Objects are told apart
    by identity, so one list under two names is not two lists.

    Args:
        roots: in a fixed order.
        views: for objects of a type, what of them counts; of all others everything does.

    Returns:
        it, and the identities of the objects that were reached.

    Raises:
        Opaque: something is reached whose content cannot be told. Nothing is passed over in silence.
    """
    reader = _Reader(views).read(list(roots))
    return reader.digest(), reader.seen.keys()


class _Reader:
    def __init__(self, views: Mapping[type, View]) -> None:
        self.told: list[str] = []
        self._views = views
        self.seen: dict[int, int] = {}
        self._kept: list[Any] = []
        """So that no identity is given to another object meanwhile."""

    def digest(self) -> bytes:
        text = "\n".join(self.told).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=16).digest()

    def read(self, value: Any) -> "_Reader":
        kind = type(value)
        if kind in _SCALARS:
            self.told.append(repr(value))
        elif kind is tuple:
            self._items(value)
        elif (found := self.seen.get(id(value))) is not None:
            self.told.append(f"@{found}")
        else:
            self.seen[id(value)] = len(self._kept)
            self._kept.append(value)
            self._first(value, kind)
        return self

    def _first(self, value: Any, kind: type) -> None:
        if kind in self._views:
            self.told.append(f"view of {kind.__qualname__}")
            self.read(self._views[kind](value))
        elif kind is dict:
            self._mapping(value)
        elif kind is list:
            self._items(value)
        elif isinstance(value, enum.Enum):
            self.told.append(str(value))
        elif isinstance(value, _TOLD_BY_REPR):
            self.told.append(repr(value))
        elif isinstance(value, _NAMED):
            self.told.append(f"{kind.__name__} {getattr(value, '__module__', '')} {value.__name__}")
        else:
            self.told.append(f"{kind.__module__}.{kind.__qualname__}")
            parts = _parts(value)
            if parts is None:
                self._object(value, kind)
            else:
                self._items(parts)

    def _object(self, value: Any, kind: type) -> None:
        slots = _slots(kind)
        if slots is None:
            raise Opaque(f"what a {kind.__module__}.{kind.__qualname__} holds cannot be told: give it a view")
        if isinstance(value, str | bytes | int | float):
            self.told.append(repr(value))
        elif isinstance(value, dict):
            self._mapping(value)
        elif isinstance(value, list | tuple | collections.deque):
            self._items(value)
        elif isinstance(value, set | frozenset):  # their order is nobody's business
            self.told.extend(sorted(_Reader(self._views).read(each).digest().hex() for each in value))
        elif isinstance(value, BaseException):
            self._items(value.args)
        for name in slots:
            self.told.append(name)
            self.read(getattr(value, name, _UNSET))
        self._mapping(getattr(value, "__dict__", {}))

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        self.told.append(f"{{{len(value)}")
        for key, item in value.items():
            self.read(key)
            self.read(item)

    def _items(self, value: Iterable[Any]) -> None:
        items = tuple(value)
        self.told.append(f"[{len(items)}")
        for item in items:
            self.read(item)


class _Unset:
    """Stands where a slot or a cell is empty."""


_UNSET = _Unset()


def _parts(value: Any) -> Iterable[Any] | None:  # noqa: C901, PLR0911, PLR0912  one line for each kind of thing
    """What tells an object whose attributes do not; None: they do."""
    match value:
        case types.FunctionType():
            return (value.__code__, value.__closure__, value.__defaults__, value.__kwdefaults__)
        case types.MethodType():
            return (value.__func__, value.__self__)
        case types.BuiltinFunctionType() | types.MethodWrapperType():
            owner = value.__self__
            return (value.__name__, None if isinstance(owner, types.ModuleType) else owner)
        case types.CodeType():
            return (value.co_filename, value.co_qualname, value.co_firstlineno)
        case types.CellType():
            return (_cell(value),)
        case types.FrameType() if value.f_code.co_filename.startswith(_ASYNCIO):
            return (value.f_code, value.f_lineno)  # its variables are those of who called it, in any order
        case types.FrameType():
            return (value.f_code, value.f_lineno, dict(value.f_locals))
        case types.CoroutineType():
            return (_at(value.cr_frame), value.cr_frame, value.cr_await)
        case types.GeneratorType():
            return (_at(value.gi_frame), value.gi_frame, value.gi_yieldfrom)
        case types.AsyncGeneratorType():
            return (_at(value.ag_frame), value.ag_frame, value.ag_await)
        case asyncio.Task():
            return (value.cancelling(), value.get_coro(), *_future(value))
        case asyncio.Future():
            return _future(value)
        case asyncio.AbstractEventLoop() | _Unset():
            return ()
        case functools.partial():
            return (value.func, value.args, value.keywords)
        case functools._lru_cache_wrapper():  # noqa: SLF001  it has no other name; a cache is not state
            return (value.__wrapped__.__qualname__,)
        case types.MappingProxyType():
            return (dict(value),)
        case random.Random():
            return (repr(value.getstate()),)
        case bytearray() | memoryview() | array.array():
            return (bytes(value),)
        case weakref.ref():
            return (value(),)
        case hashlib.blake2b():
            return (value.digest(),)
        case logging.Logger() | ContextVar():
            return (value.name,)
        case _ if type(value) is object or type(value).__name__ == "FutureIter":
            return ()  # the second: a coroutine waits there for a future, which its variables name
    return None


def _at(frame: types.FrameType | None) -> int:
    """The instruction at which something suspended stands; its line alone may await twice."""
    return -1 if frame is None else frame.f_lasti


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _UNSET


def _future(future: "asyncio.Future[Any]") -> tuple[Any, ...]:
    if not future.done():
        return ("pending",)
    if future.cancelled():
        return ("cancelled",)
    return (future.exception() or future.result(),)


@functools.cache
def _slots(kind: type) -> tuple[str, ...] | None:
    """The slots of a class written in Python; None: some of it is compiled, and holds who knows what."""
    found: list[str] = []
    told = issubclass(kind, _PLAIN)
    for base in kind.__mro__:
        if (
            base is object
            or base in _PLAIN
            or (issubclass(base, BaseException) and base.__module__ == "builtins")
        ):
            continue
        if not base.__flags__ & _HEAP_TYPE:
            return None
        names = base.__dict__.get("__slots__")
        told = told or names is not None or "__dict__" in base.__dict__
        for name in (names,) if isinstance(names, str) else names or ():
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return tuple(found) if told else None
