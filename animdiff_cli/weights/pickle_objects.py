"""What pickles of weights name: inert records of their globals, storages and tensors, and how they are rebuilt."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: packages whose objects are replaced by inert ones; any other global is refused as code
INERT_PACKAGES = frozenset((
    "torch", "collections", "numpy", "pytorch_lightning", "lightning", "lightning_fabric", "omegaconf", "transformers",
    "diffusers", "ldm", "sgm", "argparse", "pathlib", "typing", "datetime", "_codecs", "copyreg", "copy_reg",
))  # fmt: skip
INERT_BUILTINS = frozenset((
    "set", "frozenset", "complex", "bytearray", "bytes", "slice", "range", "object", "dict", "list", "tuple", "int",
    "float", "str", "bool", "long", "unicode",
))  # fmt: skip
_DICTS = ("collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict")
#: functions of `torch._utils` that rebuild a tensor, and the least and greatest number of their arguments
_NUM_ARGUMENTS = {"_rebuild_tensor": (4, 4), "_rebuild_tensor_v2": (6, 7), "_rebuild_tensor_v3": (7, 8)}


class PickleError(ValueError):
    """The stream is malformed, or larger than the limits."""


class CodeError(ValueError):
    """The stream names a function or class that does not belong in a weight file."""


class Global(NamedTuple):
    """A class or function that a pickle names."""

    module: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}".replace("__builtin__.", "builtins.")


class Storage(NamedTuple):
    """A reference to the data of tensors: class of the storage, key of its record, number of elements or bytes."""

    kind: Global
    key: str
    numel: int
    view_start: int = 0  # in elements, of views in old files


class StridedTensor(NamedTuple):
    """A tensor as pickled. `dtype`: its torch name, if the storage is untyped. `negative`: the sign bit is pending."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str | None = None
    negative: bool = False


@dataclass(slots=True)
class PickledObject:
    """An object that is not a tensor. `entries`: the parameters of a `ParameterDict`."""

    what: str
    entries: dict[str, object] = field(default_factory=dict)


def call_global(function: Global, args: tuple[Any, ...]) -> object:
    """Return what a call in a pickle stands for: a dictionary, a tensor, or an inert object. Nothing is called."""
    if function.path in _DICTS:
        pairs = args[0] if args and isinstance(args[0], list) else []
        if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
            raise PickleError("a dictionary is not made of pairs")
        return {dictionary_key(key): value for key, value in pairs}
    if function.module in ("torch._utils", "torch._tensor"):
        return _rebuild(function, args)
    if function.path == "torch.Size" and len(args) == 1:
        return args[0]
    return PickledObject(function.path)


def _rebuild(function: Global, args: tuple[Any, ...]) -> object:
    name = function.name
    if name.startswith("_rebuild_parameter") and args:
        return args[0]
    if name == "_rebuild_from_type_v2" and len(args) > 2 and isinstance(args[0], Global) and isinstance(args[2], tuple):
        if args[0].name == name:
            raise PickleError("a tensor is not described")
        return call_global(args[0], args[2])
    least, most = _NUM_ARGUMENTS.get(name, (0, 0))
    if not least:
        return PickledObject(function.path)
    if not least <= len(args) <= most:
        raise PickleError("a tensor is not described")
    storage, offset, shape, strides = args[:4]
    is_described = isinstance(storage, Storage) and is_natural(offset) and _naturals(shape) and _naturals(strides)
    has_gradient_flag = len(args) <= 4 or type(args[4]) is bool
    if not is_described or not has_gradient_flag or len(shape) != len(strides) or len(shape) > 8:
        raise PickleError("a tensor is not described")
    dtype = args[6].name if name == "_rebuild_tensor_v3" and isinstance(args[6], Global) else None
    flags = args[least] if len(args) > least else None
    negative = isinstance(flags, dict) and bool(flags.get("neg"))
    return StridedTensor(storage, offset + storage.view_start, shape, strides, dtype, negative)


def persistent_object(found: object, length: int) -> object:
    """Return what a persistent id of torch stands for: a storage, whose id has `length` fields, or a module's class."""
    if type(found) is not tuple or len(found) < 2:
        raise PickleError("a storage is not described")
    if found[0] == "module":
        return found[1]
    if found[0] != "storage" or len(found) != length or not isinstance(found[1], Global) or not is_natural(found[4]):
        raise PickleError("a storage is not described")
    view = found[5] if length > 5 else None  # key, start and length of a part
    start = 0 if view is None else view[1] if type(view) is tuple and len(view) == 3 else -1
    if not is_natural(start):
        raise PickleError("a part of a storage is not described")
    return Storage(found[1], str(found[2])[:80], found[4], start)


def dictionary_key(key: object) -> str:
    """Return a key of a dictionary as text. Raises `PickleError` for other keys than text, numbers and globals."""
    if isinstance(key, str):
        return key
    if isinstance(key, int) and abs(key) < 1 << 64:
        return str(key)
    if isinstance(key, Global):
        return key.path
    raise PickleError("a key of a dictionary is neither text nor a number")


def is_natural(value: object) -> bool:
    """Whether `value` is an integer from 0 to 2**63 - 1."""
    return type(value) is int and 0 <= value < 1 << 63


def _naturals(values: object) -> bool:
    return isinstance(values, tuple) and all(is_natural(value) for value in values)
