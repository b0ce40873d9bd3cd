"""One value of a render: is it allowed, and if not, what would be?"""

import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.sizes import nearest_sizes
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError

FIELDS: Mapping[str, FieldInfo] = GenerateConfig.model_fields

_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_BOUNDS = ((Ge, "ge", "from"), (Gt, "gt", "above"), (Le, "le", "up to"), (Lt, "lt", "below"))
_NOTHING = ("", "null", "none", "~")


def check(key: str, value: object, source: str) -> object:
    """Return the value as the schema types it, or raise a UsageError that names source, key and what is allowed.

    Stricter than pydantic where leniency would hide a mistake: true is no number, 25.0 is no whole number.
    """
    if key not in FIELDS:
        hint = did_you_mean(key, FIELDS, otherwise=f"keys are {', '.join(FIELDS)}")
        raise UsageError(f"{source}: unknown key `{key}`", hint=hint)
    if _is_list(key) and isinstance(value, str):
        value = (value,)  # one is a list of one
    if not _is_valid(key, value):
        message = f"{source}: `{key}` must be {allowed(key)}, got `{_shown(value)}`"
        raise UsageError(message, hint=_remedy(key, value))
    return _adapter(key).validate_python(value)


def from_text(key: str, text: str) -> object:
    """Take text from a shell for `key`: text stays text, whatever it looks like; `null` empties what may be empty.

    Numbers stay text too: `check` reads them as decimal, exactly. Commas part the entries of a list.
    """
    if key in FIELDS and _is_list(key):
        return () if text.strip().lower() in _NOTHING else tuple(entry.strip() for entry in text.split(","))
    if key in FIELDS and _is_optional(key) and text.strip().lower() in _NOTHING:
        return None
    return text


def allowed(key: str) -> str:
    """Say in words what a key may hold.

    >>> allowed("steps")
    'a whole number from 1 up to 999'
    """
    if _is_list(key):
        return "a list of references"
    choices = _choices(key)
    words = f"one of {', '.join(choices)}" if choices else f"{_TYPE_NAMES[_type(key)]}{_range(key)}"
    return f"{words} or null" if _is_optional(key) else words


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    annotated: Any = Annotated[FIELDS[key].annotation, FIELDS[key]]
    return TypeAdapter(annotated)


def _is_valid(key: str, value: object) -> bool:
    if _mistaken_type(key, value):
        return False
    try:
        _adapter(key).validate_python(value)
    except ValidationError:
        return False
    return True


def _members(key: str) -> tuple[Any, ...]:
    annotation = FIELDS[key].annotation
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _is_optional(key: str) -> bool:
    return types.NoneType in _members(key)


def _choices(key: str) -> tuple[str, ...]:
    literals = [member for member in _members(key) if get_origin(member) is Literal]
    return get_args(literals[0]) if literals else ()


def _is_list(key: str) -> bool:
    return get_origin(_members(key)[0]) is tuple


def _type(key: str) -> type:
    kinds: list[type] = [member for member in _members(key) if member is not types.NoneType]
    return str if _choices(key) else kinds[0]


def _mistaken_type(key: str, value: object) -> bool:
    if _is_list(key):
        return False
    kind = _type(key)
    return (isinstance(value, bool) and kind is not bool) or (isinstance(value, float) and kind is int)


def _range(key: str) -> str:
    metadata = FIELDS[key].metadata
    words = [
        f"{word} {getattr(bound, name)}"
        for kind, name, word in _BOUNDS
        for bound in metadata
        if isinstance(bound, kind)
    ]
    multiples = [f", a multiple of {bound.multiple_of}" for bound in metadata if isinstance(bound, MultipleOf)]
    return "".join([*(f" {word}" for word in words), *multiples])


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _remedy(key: str, value: object) -> str:
    field = FIELDS[key]
    if _choices(key):
        return did_you_mean(str(value), _choices(key), otherwise=f"for example `{_choices(key)[0]}`")
    if _is_list(key):
        return f"for example `{key}: [name@0.8, other.safetensors]`"
    if _type(key) is str:
        return "put text in quotes"
    digits = str(value) if _has_multiple(key) else ""
    sizes = nearest_sizes(int(digits)) if digits.isdecimal() and len(digits) < 10 else ()
    near = [f"`{size}`" for size in sizes if _is_valid(key, size)]
    return f"try {' or '.join(near)}" if near else f"for example `{42 if field.is_required() else field.default}`"


def _has_multiple(key: str) -> bool:
    return any(isinstance(bound, MultipleOf) for bound in FIELDS[key].metadata)
