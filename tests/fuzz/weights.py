"""Damaged weight files and model configs: valid small files with a few mutations."""

import json
import pickle
import random
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file, save_file

from animdiff_cli.core.text import json_line, printable
from animdiff_cli.jobs.convert import plan_conversion
from animdiff_cli.motion import load_motion_module
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.lora import open_lora
from animdiff_cli.weights.model_configs import CONFIGS
from tests.fuzz.harness import AcceptedWrongly, Subject, require_equal

SITE = "down_blocks.0.motion_modules.0.temporal_transformer"
TOKENS = (
    b"\0",
    b"9" * 5000,
    b"99999999999",
    b"[" * 3000,
    b'"',
    b"\\ud800",
    b"-1",
    b"1e999",
    b"null",
    b"F8_E4M3",
    b"I64",
)
OPCODES = (
    b"}",
    b"(",
    b"t",
    b"R",
    b"s",
    b"u",
    b"0",
    b"2",
    b"q\0",
    b"h\0",
    b"Q",
    b"b",
    b".",
    b"\x81",
    b"\x93",
    b"N",
    b"]",
)


def tensors() -> dict[str, torch.Tensor]:
    lora = "lora_unet_down_blocks_0_attentions_0_proj_in"
    return {
        f"{SITE}.norm.weight": torch.ones(8),
        f"{SITE}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe": torch.ones(1, 4, 8),
        f"{lora}.lora_down.weight": torch.ones(2, 8),
        f"{lora}.lora_up.weight": torch.ones(8, 2),
        f"{lora}.alpha": torch.tensor(1.0),
    }


def chosen(rng: random.Random) -> dict[str, torch.Tensor]:
    """Choose some of the tensors, so that the file is of one kind or another."""
    return {key: value for key, value in tensors().items() if rng.random() < 0.7} or tensors()


def mutate(raw: bytes, rng: random.Random, tokens: Sequence[bytes], first: int) -> bytes:
    """Overwrite, cut and insert bytes; most changes hit the first `first` bytes."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(max(min(len(data), first) if rng.random() < 0.8 else len(data), 1))
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                data[at : at + rng.randrange(1, 20)] = b""
            case 2:
                data[at:at] = rng.choice(tokens)
            case 3:
                token = rng.choice(tokens)
                data[at : at + len(token)] = token
    return bytes(data)


def safetensors(folder: Path, rng: random.Random) -> Path:
    path = folder / "x.safetensors"
    save_file(chosen(rng), path, {"animdiff.kind": rng.choice(("lora", "motion-module", "x"))})
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = mutate(raw[8 : 8 + length], rng, TOKENS, length)
    size = len(header) if rng.random() < 0.9 else rng.choice((0, 1, 1 << 40, (1 << 64) - 1))
    path.write_bytes(size.to_bytes(8, "little") + header + raw[8 + length :])
    return path


def pickle_in_zip(folder: Path, rng: random.Random) -> Path:
    source, path = folder / "source.ckpt", folder / "x.ckpt"
    torch.save({"state_dict": chosen(rng), "epoch": 3}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, mutate(content, rng, OPCODES, 400) if name.endswith("data.pkl") else content)
    if rng.random() < 0.3:
        path.write_bytes(mutate(path.read_bytes(), rng, (b"PK\3\4", b"\xff" * 8), 1 << 20))
    return path


def legacy_pickle(folder: Path, rng: random.Random) -> Path:
    path = folder / "x.ckpt"
    torch.save(in_order(chosen(rng)), path, _use_new_zipfile_serialization=False)
    path.write_bytes(mutate(with_fixed_keys(path.read_bytes()), rng, OPCODES, 700))
    return path


def in_order(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors to storages whose addresses, by which legacy files sort them, ascend."""
    storages = sorted((torch.UntypedStorage(0) for _ in tensors), key=lambda storage: str(storage._cdata))
    placed = {}
    for storage, (key, tensor) in zip(storages, tensors.items(), strict=True):
        storage.resize_(tensor.nbytes)
        placed[key] = torch.empty(0).set_(storage, 0, tensor.shape, tensor.stride()).copy_(tensor)
    return placed


def with_fixed_keys(legacy: bytes) -> bytes:
    """Replace the keys of storages, which are addresses in memory, by numbers that are always the same."""
    keys: dict[bytes, bytes] = {}

    def fixed(match: re.Match[bytes]) -> bytes:
        number = keys.setdefault(match[1], b"%014d" % len(keys))
        return b"X" + len(number).to_bytes(4, "little") + number

    return re.sub(rb"X[\x08-\x14]\0\0\0([0-9]{8,20})", fixed, legacy)


def model_folder(folder: Path, rng: random.Random) -> Path:
    model = folder / "model"
    for part in ("unet", "vae", "text_encoder"):
        (model / part).mkdir(parents=True)
        config = json.loads((CONFIGS / "sd15" / f"{part}.json").read_text())
        for _ in range(rng.randrange(4)):
            odd = (10**9, -1, 0, [], [8] * 1000, {}, "x", None, 1e308, [[10**9]], True)
            config[rng.choice(list(config))] = rng.choice(odd)
        raw = json.dumps(config).encode()
        (model / part / "config.json").write_bytes(mutate(raw, rng, TOKENS, 2000) if rng.random() < 0.3 else raw)
        names = {
            "unet": "conv_in.weight",
            "vae": "decoder.conv_in.weight",
            "text_encoder": "text_model.final_layer_norm.bias",
        }
        weights = {names[part]: torch.ones(8, 4, 3, 3), "decoder.up_blocks.0.x": torch.ones(1)}
        save_file(weights, model / part / "x.safetensors")
    return model


def identified(path: Path) -> None:
    """Identify a file as `inspect` does."""
    record = identify(path).record()
    require_equal(printable(json_line(record)), json_line(record), "the JSON of `inspect`")


def converted(path: Path) -> None:
    """Plan a conversion."""
    plan_conversion(str(path), output=path.parent / "out.safetensors")


def lora(path: Path) -> None:
    """Open a LoRA."""
    open_lora(open_weights(path), strict=False)


def tensors_read(path: Path) -> None:
    """Read every tensor, and compare it with what safetensors or torch reads."""
    file = open_weights(path)
    read = {key: tensor.read() for key, tensor in file.tensors.items()}
    if file.container == "safetensors":
        reference = load_file(path)
    else:
        try:
            reference = dict(flat(torch.load(path, "cpu", pickle_module=REFERENCE, weights_only=False), ""))
        except UnpickledDifferently as error:
            raise AcceptedWrongly(f"{file.container} is refused by torch: {error!r:.300}") from error
        except Exception:  # torch also refuses damage in records that hold no weights
            return
    for key, tensor in read.items():
        found = [value for name, value in reference.items() if f".{name}".endswith(f".{key}")]
        if not any(same(tensor, value) for value in found):
            raise AcceptedWrongly(f"`{key}` is {tensor!r:.200}, and should be {found!r:.200}")


class Inert(dict):
    """Stands for any class or function of a pickle that does not belong to a tensor."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict) and isinstance(parameters := state.get("_parameters"), dict):
            self.update(parameters)

    def append(self, _: object) -> None: ...

    extend = add = append


class UnpickledDifferently(Exception):
    """Python's unpickler, or what it calls, has refused a pickle."""


class ReferenceUnpickler(pickle.Unpickler):
    """Python's own unpickler, which finds only what tensors are made of."""

    def load(self) -> object:
        try:
            return super().load()
        except Exception as error:
            raise UnpickledDifferently(repr(error)) from error

    def find_class(self, module: str, name: str) -> object:
        is_tensor = module in ("torch._utils", "torch._tensor", "collections", "torch.serialization")
        known = "Storage" in name if module in ("torch", "torch.storage") else is_tensor
        known = known or isinstance(vars(torch).get(name), torch.dtype)
        try:
            return super().find_class(module, name) if known else Inert
        except AttributeError:
            return Inert


REFERENCE = SimpleNamespace(
    __name__="reference",
    Unpickler=ReferenceUnpickler,
    load=lambda file, **options: ReferenceUnpickler(file, **options).load(),
)


def flat(value: object, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of nested dictionaries by dotted name."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from flat(entry, f"{name}.{key}" if name else str(key))


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Compare type, shape and bits."""
    raw = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (first, second)]
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(*raw)


FILE = (identified, converted, load_motion_module, lora, tensors_read)
SUBJECTS = {
    "safetensors": Subject(safetensors, FILE, 40, 8000),
    "pickle-zip": Subject(pickle_in_zip, FILE, 40, 8000),
    "pickle-legacy": Subject(legacy_pickle, FILE, 40, 8000),
    "model-folder": Subject(model_folder, (identified, converted), 40, 8000),
}
