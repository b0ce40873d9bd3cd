"""Read torch pickles, zip and legacy, safely: only tensors, whose data lies in the file. Nothing in them is run."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.header import DTYPE_BYTES
from animdiff_cli.weights.lazy import TORCH_NAMES, LazyTensor, StoredRows, torch_dtype
from animdiff_cli.weights.pickle_objects import CodeError, PickledObject, PickleError, Storage, StridedTensor
from animdiff_cli.weights.pickle_opcodes import MAX_BYTES, interpret

if TYPE_CHECKING:
    from torch import Tensor

#: keys under which checkpoints nest their weights, in order of precedence
WRAPPERS = ("state_dict", "controlnet", "model", "module")
#: tensors may share storage (tied weights), so their total size may exceed the file size by at most this factor
MAX_SHARING = 4
#: dictionaries inside dictionaries, and characters of all names together
MAX_DEPTH, MAX_NAMES = 32, 1 << 24
#: first number of legacy files
MAGIC = 0x1950A86A20F9469CFC6C
#: second number of legacy files
PROTOCOL = 1001
_SAFETENSORS_HINT = "ask its author for a .safetensors file"
_STORAGES: Mapping[str, str] = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "ByteStorage": "U8", "CharStorage": "I8", "ShortStorage": "I16", "IntStorage": "I32", "LongStorage": "I64",
    "BoolStorage": "BOOL",
}  # fmt: skip
#: objects of `torch._utils` and `torch._tensor` that stand for a tensor without strided data
_UNSUPPORTED = {"sparse": "a sparse tensor", "meta": "a tensor without data", "qtensor": "a quantized tensor"}
#: what damaged files raise, in `zipfile` too
_DAMAGED = (ValueError, zipfile.BadZipFile, OSError, NotImplementedError, struct.error, OverflowError, IndexError)
Places = Mapping[str, tuple[int, int]]  # key of a storage → first byte in the file, number of bytes


@dataclass(frozen=True, slots=True)
class Pickled:
    """The tensors of a pickle by dotted name, not read yet, and the names of its other entries."""

    tensors: dict[str, LazyTensor]
    others: tuple[str, ...]
    is_zip: bool


def read_pickle(path: Path) -> Pickled:
    """Open a `.ckpt`, `.pt`, `.pth` or `.bin`. Wrappers such as `state_dict` are removed; tensors are read on demand.

    Raises `IntegrityError` if the file has code, is damaged, claims more data than it has, or has no tensors.
    """
    zipped = is_zip(path)
    try:
        loaded, places = _open_zip(path) if zipped else _open_legacy(path)
        entries = _flatten(_unwrap(loaded))
    except CodeError as error:
        raise IntegrityError(
            f"{path.name} holds more than tensors, and loading it could run code: refused (`{error}`)",
            hint=_SAFETENSORS_HINT,
        ) from error
    except _DAMAGED as error:
        _unreadable(path, error)
    found = {key: value for key, value in entries.items() if isinstance(value, StridedTensor)}
    _check_supported(entries, path)
    if not found:
        raise IntegrityError(f"{path.name} has no tensors", hint="this is not a weight file")
    tensors = {key: _lazy(path, key, tensor, places) for key, tensor in found.items()}
    claimed = sum(tensor.numel * DTYPE_BYTES[tensor.dtype] for tensor in tensors.values())
    if claimed > MAX_SHARING * path.stat().st_size:
        raise IntegrityError(
            f"{path.name} has {path.stat().st_size} bytes and claims tensors of {claimed}: refused",
            hint=_SAFETENSORS_HINT,
        )
    return Pickled(tensors, tuple(key for key in entries if key not in tensors), zipped)


def is_zip(path: Path) -> bool:
    """Return whether the container is a zip, torch's format since 1.6."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _open_zip(path: Path) -> tuple[object, Places]:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        # torch does not compress, and unpacking could exhaust memory
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or unpacked > size:
            raise IntegrityError(
                f"{path.name} has {size} bytes and would unpack to {unpacked}: refused", hint=_SAFETENSORS_HINT
            )
        names = {member.filename: member for member in members}
        stem = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if stem is None:
            raise IntegrityError(f"{path.name} is a zip archive, not weights", hint="unpack it, and name a file of it")
        if f"{stem}constants.pkl" in names:
            raise IntegrityError(f"{path.name} is a TorchScript program, not weights", hint=_SAFETENSORS_HINT)
        if len(names) < len(members) or any(member.flag_bits & 1 for member in members):
            raise PickleError("its records are encrypted or appear twice")
        if not {f"{stem}version", f"{stem}.data/version"} & names.keys():
            raise PickleError("it has no version")
    prefix = f"{stem}data/"
    with path.open("rb") as file:
        order = _record(file, names[f"{stem}byteorder"]) if f"{stem}byteorder" in names else b"little"
        _check_byteorder(order == b"little", path)
        loaded, _ = interpret(_record(file, names[f"{stem}data.pkl"]))
        starts = {name: _record_start(file, member) for name, member in names.items()}
    places = {
        name.removeprefix(prefix): (start, names[name].file_size)
        for name, start in starts.items()
        if name.startswith(prefix)
    }
    if any(start + length > size for start, length in places.values()):
        raise PickleError("a record ends after the file")
    return loaded, places


def _record(file: BinaryIO, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > MAX_BYTES:
        raise PickleError(f"its index is larger than {MAX_BYTES} bytes")
    file.seek(_record_start(file, member))
    return file.read(member.file_size)


def _record_start(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Return the offset of a record's data, after its local header."""
    file.seek(member.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise PickleError("a record has no header")
    name, extra = struct.unpack("<HH", header[26:30])
    return member.header_offset + 30 + int(name) + int(extra)


def _open_legacy(path: Path) -> tuple[object, Places]:
    """Read the five pickles of a legacy file; every storage follows as its number of elements and its data."""
    size = path.stat().st_size
    with path.open("rb") as file:
        stream = file.read(min(size, 2 * MAX_BYTES))
        magic, place = interpret(stream[:64])
        if magic != MAGIC:
            interpret(stream)  # names code, if there is any
            raise PickleError("a pickle that torch did not write")
        parts = []
        for _ in range(4):
            part, length = interpret(stream[place:], id_length=6)
            parts.append(part)
            place += length
        protocol, system, loaded, keys = parts
        if protocol != PROTOCOL:
            raise PickleError("a version that torch did not write")
        if not isinstance(system, dict) or not isinstance(keys, list):
            raise PickleError("its header is not complete")
        _check_byteorder(system.get("little_endian") is True, path)
        storages = _storages(loaded)
        places: dict[str, tuple[int, int]] = {}
        for key in map(str, keys):
            storage = storages.get(key)
            if storage is None:
                raise PickleError("a storage belongs to no tensor")
            file.seek(place)
            count = int.from_bytes(file.read(8), "little")
            length = count * DTYPE_BYTES.get(_STORAGES.get(storage.kind.name, ""), 1)
            if count != storage.numel or place + 8 + length > size:
                raise PickleError("a storage has another size than it claims")
            places[key] = (place + 8, length)
            place += 8 + length
    return loaded, places


def _storages(loaded: object) -> dict[str, Storage]:
    """Find the storages of all tensors, also of those in lists, such as in an optimizer's state."""
    found: dict[str, Storage] = {}
    seen: set[int] = set()
    waiting = [loaded]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, StridedTensor):
            found.setdefault(entry.storage.key, entry.storage)
        elif isinstance(entry, Storage):
            found.setdefault(entry.key, entry)
        elif id(entry) not in seen and isinstance(entry, dict | list | tuple | PickledObject):
            seen.add(id(entry))
            inner = entry.entries if isinstance(entry, PickledObject) else entry
            waiting += inner.values() if isinstance(inner, dict) else inner
    return found


def _check_byteorder(is_little: bool, path: Path) -> None:
    if not is_little:
        raise IntegrityError(
            f"{path.name} was written on a big-endian machine, which is not supported", hint=_SAFETENSORS_HINT
        )


def _check_supported(entries: Mapping[str, object], path: Path) -> None:
    for key, value in entries.items():
        if isinstance(value, PickledObject) and value.what.startswith(("torch._utils.", "torch._tensor.")):
            what = next((words for part, words in _UNSUPPORTED.items() if part in value.what), "an unusual tensor")
            raise IntegrityError(
                f"{path.name}: `{key[:120]}` is {what}, which is not supported", hint=_SAFETENSORS_HINT
            )


def _lazy(path: Path, key: str, tensor: StridedTensor, places: Places) -> LazyTensor:
    """Return a tensor that is read on demand, after checking its storage."""
    storage, shape = tensor.storage, tensor.shape
    dtype = _STORAGES.get(storage.kind.name)
    if storage.kind.name == "UntypedStorage":
        dtype = next((own for own, name in TORCH_NAMES.items() if name == tensor.dtype), None)
    if dtype is None:
        kind = (tensor.dtype or storage.kind.name).removesuffix("Storage")[:40]
        raise IntegrityError(
            f"{path.name}: `{key[:120]}` has the dtype {kind}, which is not supported", hint=_SAFETENSORS_HINT
        )
    start, length = places.get(storage.key, (0, -1))
    last = sum((size - 1) * stride for size, stride in zip(shape, tensor.strides, strict=True)) if prod(shape) else -1
    item = 1 if storage.kind.name == "UntypedStorage" else DTYPE_BYTES[dtype]
    if length != storage.numel * item or (tensor.offset + last + 1) * DTYPE_BYTES[dtype] > length:
        raise IntegrityError(
            f"{path.name}: the data of `{key[:120]}` is not in the file", hint="download it again: it may be truncated"
        )
    first_byte = start + tensor.offset * DTYPE_BYTES[dtype]
    if _is_contiguous(tensor):
        lazy = LazyTensor(dtype, shape, StoredRows(path, first_byte, dtype, shape))
    else:
        span = StoredRows(path, first_byte, dtype, (last + 1,))
        lazy = LazyTensor(dtype, shape, lambda begin, stop: _strided(span, tensor)[begin:stop])
    if not tensor.negative:
        return lazy
    rows = lazy.rows
    return replace(lazy, rows=lambda begin, stop: -rows(begin, stop))


def _strided(span: StoredRows, tensor: StridedTensor) -> Tensor:
    import torch

    data = span(0, span.shape[0])
    shape, strides = (tensor.shape, tensor.strides) if tensor.shape else ((1,), (1,))
    return torch.as_strided(data, shape, strides) if data.numel() else torch.empty(shape, dtype=torch_dtype(span.dtype))


def _is_contiguous(tensor: StridedTensor) -> bool:
    expected = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if size != 1 and stride != expected:
            return not prod(tensor.shape)
        expected *= size
    return True


def _unwrap(loaded: object) -> object:
    for _ in range(MAX_DEPTH):
        if not isinstance(loaded, dict):
            return {}
        inner = next((loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), dict)), None)
        if inner is None:
            return loaded
        loaded = inner
    raise PickleError("its dictionaries contain themselves")


def _flatten(loaded: object) -> dict[str, object]:
    """Return nested entries under dotted names, as in safetensors files of the same weights."""
    entries: dict[str, object] = {}
    budget = MAX_NAMES

    def add(entry: object, name: str, depth: int) -> None:
        nonlocal budget
        budget -= 1 + len(name)
        if budget < 0 or depth > MAX_DEPTH:
            raise PickleError("its dictionaries are nested too deeply or contain themselves")
        inner = entry.entries if isinstance(entry, PickledObject) and entry.entries else entry
        if not isinstance(inner, dict):
            entries[name] = entry
            return
        for key, value in inner.items():
            add(value, f"{name}.{key}" if name else key, depth + 1)

    add(loaded, "", 0)
    return entries


def _unreadable(path: Path, error: Exception) -> NoReturn:
    raise IntegrityError(
        f"{path.name} is not a readable torch file: {str(error)[:120] or type(error).__name__}",
        hint="download it again: it may be truncated",
    ) from error
