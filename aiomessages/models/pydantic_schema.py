"""Bases of the values that a FastAPI route may return and a Pydantic model may hold.

Pydantic asks a class for a core schema (how to check and write a value) and a JSON schema (for
OpenAPI). FastAPI asks Pydantic where a route has a return annotation, and calls `dict()` where it
has none. Neither is a dependency: pydantic_core is imported when Pydantic asks.

Nothing here performs I/O.
"""

from collections.abc import KeysView, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

import msgspec

from .as_sent import Kept, keep

if TYPE_CHECKING:
    from pydantic_core import SchemaSerializer
    from pydantic_core.core_schema import CoreSchema

Json = Any


class _Serializer:
    """Give pydantic_core what writes a value behind a type hint like `Any`; built at first use."""

    def __init__(self) -> None:
        self._built: dict[type, SchemaSerializer] = {}

    def __get__(self, _: object, cls: "type[Serializable]") -> "SchemaSerializer":
        try:
            from pydantic_core import SchemaSerializer  # noqa: PLC0415 - the docstring says why
        except ImportError as error:  # inspect.getmembers() reads every attribute
            raise AttributeError("Pydantic is not installed") from error
        if cls not in self._built:
            self._built[cls] = SchemaSerializer(cls.__get_pydantic_core_schema__(cls, None))
        return self._built[cls]


class Serializable:
    """A value that Pydantic checks by its class and writes by `to_dict()`."""

    __slots__ = ()
    __pydantic_serializer__: ClassVar[Any] = _Serializer()

    if TYPE_CHECKING:

        def to_dict(self) -> dict[str, Json]:
            """Return the value as a dict of its own."""
            raise NotImplementedError

    def to_json(self) -> str:
        """Return the JSON of `to_dict()`, on one line."""
        return msgspec.json.encode(self.to_dict()).decode()

    @classmethod
    def _accepts(cls, value: object) -> bool:
        """Return whether Pydantic takes the value as it is."""
        return isinstance(value, cls)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> "CoreSchema":
        from pydantic_core import core_schema  # noqa: PLC0415 - the docstring says why

        def read(value: Any) -> Any:
            if cls._accepts(value):
                return value
            made = msgspec.convert(value, cls)  # raises a ValueError, which Pydantic reports
            return keep(made, value) if isinstance(made, Kept) else made

        return core_schema.no_info_plain_validator_function(
            read,
            ref=f"{cls.__module__}.{cls.__qualname__}",  # it makes the schema a named component
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.to_dict()
            ),
        )


class SerializableStruct(Serializable):
    """A Struct that is Serializable; `dict()` of it is `to_dict()`."""

    __slots__ = ()

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name != "keys"]

    # FastAPI calls dict() of a value. `message["content"]` is a mistake that type checkers refuse.
    if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false

        def keys(self) -> KeysView[str]:
            """Return the keys of `to_dict()`, which `dict()` asks for."""
            return self.to_dict().keys()

        def __getitem__(self, key: str) -> Json:
            return self.to_dict()[key]

        __iter__ = None  # Python would ask for the items 0, 1, 2, and raise KeyError
        __contains__ = None

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Json]:
        return _schema_of(cls)


def open_dict_schema(*_: object) -> "CoreSchema":
    """Return the schema of a dict with any keys: the `__get_pydantic_core_schema__` of a type."""
    from pydantic_core import core_schema  # noqa: PLC0415 - the docstring says why

    return core_schema.dict_schema()


class SerializablePage(Serializable):
    """A page that is Serializable: its items in the envelope of the API."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Json]:
        """Return the page in the API's shape, as a dict of its own. `body` has the exact bytes."""
        page = {name: getattr(self, name) for name in _page_fields({})}
        return page | {"data": [_plain(item) for item in page["data"]]}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Json]:
        (item,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]
        fields = _page_fields({"type": "object"} if item is bytes else _schema_of(item))
        described = {"title": cls.__name__, "description": _summary(str(cls.__doc__))}
        return {**described, "type": "object", "properties": fields, "required": list(fields)}


def _plain(item: Any) -> Json:
    return msgspec.json.decode(item) if isinstance(item, bytes) else item.to_dict()


_NULL: Final = {"type": "null"}
_ID: Final = {"anyOf": [{"type": "string"}, _NULL]}


def _page_fields(item: dict[str, Json]) -> dict[str, Json]:
    """Return the JSON schema of each field of a page, whose items have the given one."""
    return {
        "object": {"type": "string"},
        "data": {"type": "array", "items": item},
        "first_id": _ID,
        "last_id": _ID,
        "has_more": {"type": "boolean"},
    }


def _schema_of(cls: type) -> dict[str, Json]:
    """Return the JSON schema of a Struct, without references.

    OpenAPI resolves a `$ref` from the root of its document, so that those of msgspec would break.
    """
    _, known = msgspec.json.schema_components((cls,), schema_hook=lambda _: {"type": "object"})
    opened: dict[str, Json] = _opened(known[cls.__name__], known)
    return opened


def _opened(schema: Any, known: Mapping[str, Any]) -> Any:
    """Return a schema that stays true when the API sends more than this version knows.

    Objects may have more fields, enumerations more values, and unions more kinds.
    """
    if isinstance(schema, list):
        return [_opened(item, known) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _opened(known[schema["$ref"].rpartition("/")[2]], known)
    opened = {key: _opened(value, known) for key, value in schema.items() if key not in _CLOSING}
    if "enum" in schema:
        opened |= {"type": "string", "examples": schema["enum"]}
    if "discriminator" in schema:
        opened["anyOf"].append({"type": "object"})
    if "description" in schema:
        opened["description"] = _summary(schema["description"])
    return opened if schema.get("default", ...) is not None else _or_null(opened)


_CLOSING: Final = {"additionalProperties", "discriminator", "enum"}


def _or_null(schema: dict[str, Json]) -> dict[str, Json]:
    """Allow null where it is the default; the annotation `Sent` hides it from msgspec."""
    del schema["default"]
    return schema if _NULL in schema.get("anyOf", ()) else {"anyOf": [schema, _NULL]}


def _summary(docstring: str) -> str:
    return docstring.partition("\n")[0]
