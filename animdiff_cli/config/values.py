"""Check one value of one setting: is it allowed, and if not, what would be?"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from pydantic import BaseModel, ValidationError

from animdiff_cli.config.settings import Setting, groups_of, settings_of, split_key
from animdiff_cli.config.varying import Varying
from animdiff_cli.config.yamlfile import parse_yaml
from animdiff_cli.core.curves import is_curve_text
from animdiff_cli.core.refs import split_refs
from animdiff_cli.core.sizes import nearest_sizes
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError

_NULL = ("", "null", "none", "~")


def check_value(model: type[BaseModel], key: str, value: object, source: str, *, within: str = "") -> object:
    """Return the value as `model` types it, or raise a `UsageError` that names source, key and what is allowed.

    Stricter than pydantic where leniency would hide a mistake: true is no number, 25.0 is no whole number.
    `within` is where `model` lies in an outer record, such as `loras.0.`; messages name the whole key.
    """
    whole, part = split_key(model, key)
    setting = _find(model, whole, source, within)
    if part:
        return _check_part(setting, part, value, source, within)
    value = (value,) if setting.is_list and isinstance(value, str) else value  # one is a list of one
    for at, record in _records(setting, value):
        _check_record(setting, record, at, source)
    return _checked(setting, value, f"{within}{key}", source)


def check_values(model: type[BaseModel], values: Mapping[str, object], source: str) -> dict[str, object]:
    """Check every value of a mapping by key. Raises as `check_value`."""
    return {key: check_value(model, key, value, source) for key, value in values.items()}


def from_text(model: type[BaseModel], key: str, text: str) -> object:
    """Read text from a shell for `key`: text stays text, whatever it looks like; `null` empties what may be empty.

    Numbers stay text too: `check_value` reads them as decimal, exactly. Commas separate references of a list. What may
    be a list or a record of weights is read as YAML if it is written in brackets. Raises `UsageError` if it is not.
    """
    whole, part = split_key(model, key)
    setting = settings_of(model).get(whole)
    if setting is None:
        return text
    if part:
        return from_text(setting.record, part.rpartition(".")[2], text) if setting.record else text
    stripped = text.strip()
    is_null = stripped.lower() in _NULL
    brackets = ("[]", "{}") if setting.record else ("[]",) if setting.reference else ()
    if f"{stripped[:1]}{stripped[-1:]}" in brackets:
        return parse_yaml(stripped, f"`{key}`")
    if setting.is_list:
        entries = split_refs(text) if setting.reference else [text]
        return () if is_null else tuple(entry.strip() for entry in entries)
    return None if is_null and setting.is_optional else text


def set_part(setting: Setting, value: object, part: str, new: object, source: str) -> object:
    """Return `value` with one part replaced: `0` is an entry of a list, `0.scale` one field of it.

    `part` and `new` were checked. Raises `UsageError` where `value` has no such entry.
    """
    if not setting.is_list:
        return _with_field(setting, value, part, new, source)
    number, _, field = part.partition(".")
    entries = list(value) if isinstance(value, tuple) else []
    if len(number) > 9 or int(number) >= len(entries):
        has = f"has {len(entries)}, numbered from 0" if entries else "is empty"
        first = f"give the whole entry first, as in `{setting.key}={_example(setting, ',')}`"
        raise UsageError(
            f"{source}: there is no entry `{setting.key}.{number}`: `{setting.key}` {has}",
            hint=f"the last entry is `{setting.key}.{len(entries) - 1}`" if entries else first,
        )
    entries[int(number)] = _with_field(setting, entries[int(number)], field, new, source) if field else new
    return tuple(entries)


def _with_field(setting: Setting, entry: object, field: str, value: object, source: str) -> object:
    assert setting.record is not None  # else the key was refused
    if entry is None and source.startswith("--") and source != "--set":
        flag = f"--{setting.key.replace('_', '-')}"
        raise UsageError(f"`{source}` has no effect without `{flag}`", hint=f"add `{flag} FILE`")
    if entry is None:
        raise UsageError(
            f"{source}: cannot set `{setting.key}.{field}` while `{setting.key}` is null",
            hint=f"set it first, as in `{setting.key}={setting.record.example}`",
        )
    return setting.record.read(entry).model_copy(update={field: value}).stored()


def _find(model: type[BaseModel], key: str, source: str, within: str) -> Setting:
    settings = settings_of(model)
    if key in settings:
        return settings[key]
    if key in groups_of(model):
        example = next(name for name in settings if name.startswith(f"{key}."))
        raise UsageError(f"{source}: `{key}` must be a mapping of settings", hint=f"for example `{example}`")
    if ":" in key:
        raise UsageError(f"{source}: unknown key `{within}{key}`", hint="write a space after the colon of each key")
    hint = did_you_mean(key, settings, otherwise=f"keys are {', '.join(settings)}")
    raise UsageError(f"{source}: unknown key `{within}{key}`", hint=hint)


def _check_part(setting: Setting, part: str, value: object, source: str, within: str) -> object:
    """Check the new value of one part of a setting: an entry of a list, or a field of an entry."""
    number, _, field = part.partition(".") if setting.is_list else ("", "", part)
    if setting.is_list and not (number.isascii() and number.isdecimal()):
        hint = f"entries are numbered from 0: `{setting.key}.0`"
        raise UsageError(f"{source}: unknown key `{within}{setting.key}.{part}`", hint=hint)
    at = ".".join(name for name in (setting.key, number) if name)
    if not field:
        for _, record in _records(setting, [value]):
            _check_record(setting, record, at, source)
        return cast("tuple[object, ...]", _checked(setting, [value], setting.key, source))[0]
    if setting.record is None:
        raise UsageError(f"{source}: unknown key `{within}{setting.key}.{part}`", hint=f"`{within}{at}` has no fields")
    return check_value(setting.record, field, value, source, within=f"{within}{at}.")


def _records(setting: Setting, value: object) -> list[tuple[str, Mapping[str, object]]]:
    """List the parts of a value that are written as records, each with its key."""
    if setting.record is None:
        return []
    if isinstance(value, Mapping):
        return [] if setting.is_list else [(setting.key, value)]
    entries = value if isinstance(value, (list, tuple)) else ()
    return [(f"{setting.key}.{at}", entry) for at, entry in enumerate(entries) if isinstance(entry, Mapping)]


def _check_record(setting: Setting, record: Mapping[str, object], at: str, source: str) -> None:
    assert setting.record is not None
    for name, value in record.items():
        check_value(setting.record, str(name), value, source, within=f"{at}.")
    for name, field in setting.record.model_fields.items():
        if field.is_required() and name not in record:
            raise UsageError(f"{source}: `{at}` has no `{name}`", hint=field.description)


def _checked(setting: Setting, value: object, name: str, source: str) -> object:
    if isinstance(value, bool) and (word := "on" if value else "off") in setting.choices:
        value = word  # YAML reads a bare `on` as true
    if setting.varying and (track := _checked_track(setting, setting.varying, value, name, source)):
        return track
    if setting.max_length is not None and isinstance(value, (str, list, tuple)) and len(value) > setting.max_length:
        unit = "characters" if isinstance(value, str) else "entries"
        raise UsageError(
            f"{source}: `{name}` has {len(value)} {unit}, and at most {setting.max_length} are allowed",
            hint=f"leave out {len(value) - setting.max_length} {unit}",
        )
    texts = [text for text in (value if isinstance(value, (list, tuple)) else (value,)) if isinstance(text, str)]
    if setting.value_type is str and not setting.reference and not all(map(_is_unicode, texts)):
        raise UsageError(f"{source}: `{name}` has bytes that are not text", hint="write it in UTF-8")
    try:
        is_valid = _is_valid(setting, value)
    except UsageError as error:  # of the text form of an entry
        raise UsageError(f"{source}: {error}", hint=error.hint) from error
    if not is_valid:
        message = f"{source}: `{name}` must be {setting.allowed}, got `{_shown(value)}`"
        raise UsageError(message, hint=_remedy(setting, value))
    checked: object = setting.adapter.validate_python(value)
    return checked


def _checked_track(setting: Setting, varying: Varying, value: object, name: str, source: str) -> object | None:
    """Return a track with every value checked; None for one value."""
    try:
        if (pairs := varying.pairs(value)) is None:
            return None
        varying.track(pairs)  # refuses wrong positions before wrong values
    except UsageError as error:
        raise UsageError(f"{source}: `{name}`: {error}", hint=error.hint) from error
    once = replace(setting, metadata=tuple(mark for mark in setting.metadata if mark is not varying))
    once = replace(once, adapter=varying.adapter)
    return varying.track({where: _checked(once, entry, f"{name}.{where}", source) for where, entry in pairs.items()})


def _is_unicode(text: str) -> bool:
    """False for text with bytes that are not UTF-8: shells pass them on, tokenizers fail on them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_valid(setting: Setting, value: object) -> bool:
    if not setting.is_list and _is_lenient(setting.value_type, value):
        return False
    try:
        setting.adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _is_lenient(wanted: type, value: object) -> bool:
    """True for a conversion that pydantic accepts but that usually hides a mistake."""
    return (isinstance(value, bool) and wanted is not bool) or (isinstance(value, float) and wanted is int)


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _remedy(setting: Setting, value: object) -> str:
    keys = [f"{key}:" for key in value] if isinstance(value, Mapping) else [value]
    if not setting.varying and any(isinstance(key, str) and is_curve_text(key) for key in keys):
        return "give one value: this does not vary over a clip"
    if setting.choices:
        return did_you_mean(str(value), setting.choices, otherwise=f"for example `{setting.choices[0]}`")
    if setting.is_list:
        others = setting.record.example if setting.record else "one text, another text"
        example = f"[{_example(setting, ', ') if setting.reference else others}]"
        return f"for example `{setting.key}: {example}`"
    if setting.value_type is str:
        return "put text in quotes"
    digits = str(value) if setting.has_multiple else ""
    sizes = nearest_sizes(int(digits)) if digits.isdecimal() and len(digits) < 10 else ()
    if near := [f"`{size}`" for size in sizes if _is_valid(setting, size)]:
        return f"try {' or '.join(near)}"
    if setting.value_type is bool:
        return "write `true` or `false`"
    if setting.field.is_required():
        return "for example `42`" if setting.value_type is int else str(setting.field.description)
    examples = (setting.field.default, setting.least, *(setting.field.examples or ()))
    first = next((each for each in examples if each is not None), None)
    return f"for example `{_shown(first)}`" if first is not None else str(setting.field.description)


def _example(setting: Setting, between: str) -> str:
    """Return a list of two references, the second as they are without a scale, or of one entry."""
    first = setting.record.example if setting.record else "name@0.8"
    return f"{first}{between}other.safetensors" if setting.reference and "=" not in first else first
