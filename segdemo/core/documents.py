"""JSON objects as dataclasses: fields of known types, and whatever else an object says kept as it is."""

import logging
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Self

from segdemo.core.files import read_json
from segdemo.errors import UserError

_KNOWN: dict[type, dict[str, Any]] = {}  # a Document's class -> its hints, which take long to look up


class DamagedError(UserError):
    """A file does not hold what it should."""

    def __init__(self, path: Path, why: Exception) -> None:
        said = "it cannot be read as JSON" if isinstance(why, JSONDecodeError | UnicodeDecodeError) else why
        super().__init__(f"{path} is damaged ({said}): restore it from a copy.")


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """What is found wrong with the content of a file within is a DamagedError about the file."""
    try:
        yield
    except DamagedError:
        raise
    except (ValueError, TypeError) as error:
        raise DamagedError(path, error) from error


@lru_cache(1000)
def log_once(sentence: str) -> None:
    """Say in the log that something is left out of a list; the list may be asked for every second."""
    logging.getLogger(__name__).warning("Left out: %s", sentence)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A JSON object of a file, to be subclassed with a field for each key that the program reads.

    ``to_json`` gives every key back that was read, known or not, in its order and no other, so that a file of
    another version is not changed by being read and written.

    Attributes:
        extra: what the object has besides the fields.
    """

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keys: tuple[str, ...] = field(default=(), repr=False, compare=False)  # as they were read

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The document of plain data. Raises ValueError: no object, a field is missing or of another type."""
        if not isinstance(data, dict):
            raise ValueError(f"it is no object but {type(data).__name__}")
        hints = _hints(cls)
        required = _required(cls)
        known = {
            key: _typed(hints[key], value, key)
            for key, value in data.items()
            if key in hints and (value is not None or key in required)  # null is as good as the default
        }
        if missing := [name for name in required if name not in known]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        rest = {key: value for key, value in data.items() if key not in hints}
        return cls(**known, extra=rest, keys=tuple(data))

    @classmethod
    def of(cls, **values: Any) -> Self:
        """A new document. Unlike that of the constructor, its ``to_json`` has all that is given, defaults too."""
        return cls(**values, keys=tuple(values))

    def with_more(self, **values: Any) -> Self:
        """The same document, of which ``to_json`` has these too."""
        return replace(self, **values, keys=(*self.keys, *(key for key in values if key not in self.keys)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The document in a file. Raises FileNotFoundError, OSError, DamagedError."""
        with damage(path):
            return cls.from_json(read_json(path))

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` reads back."""
        values = {**self.extra, **{name: getattr(self, name) for name in _hints(type(self))}}
        plain = {key: values[key] for key in self.keys if key in values}
        for item in fields(self):
            default = item.default_factory() if item.default_factory is not MISSING else item.default
            if item.name in values and item.name not in plain and values[item.name] != default:
                plain[item.name] = values[item.name]
        return {key: _plain(value) for key, value in {**plain, **self.extra}.items()}


def _hints(cls: type[Document]) -> dict[str, Any]:
    """Types of the fields that stand in the file."""
    if cls not in _KNOWN:
        hints = typing.get_type_hints(cls)
        _KNOWN[cls] = {f.name: hints[f.name] for f in fields(cls) if f.name not in ("extra", "keys")}
    return _KNOWN[cls]


def _required(cls: type[Document]) -> list[str]:
    return [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]


def _typed(hint: Any, value: Any, key: str) -> Any:
    """A value of plain data as a field's type. Raises ValueError."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        (hint,) = (one for one in inner if one is not type(None))
        return _typed(hint, value, key)
    if isinstance(hint, type) and hasattr(hint, "from_json"):
        return hint.from_json(value)
    if origin is dict and isinstance(value, dict):
        return {name: _typed(inner[1], one, key) for name, one in value.items()}
    if origin in (list, tuple) and isinstance(value, list | tuple):
        return origin(_typed(inner[0], one, key) for one in value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    wanted = (int, float) if hint is float else hint
    if origin is None and isinstance(value, wanted) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"its {key!r} is {type(value).__name__}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.to_json() if hasattr(value, "to_json") else value
