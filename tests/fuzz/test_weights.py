"""Damaged weight files and model configs end in success or an `AnimdiffError`, in little time and memory.

Each input is a valid small file with a few mutations. Inputs run in a child process, so that a crash is seen; the seed
of a failing input is in the message: run it again with `check(subject, seed, folder)`.
"""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animdiff_cli.errors import AnimdiffError
from animdiff_cli.jobs.convert import plan_conversion
from animdiff_cli.motion import load_motion_module
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.lora import open_lora
from animdiff_cli.weights.model_configs import CONFIGS

#: seconds and bytes that one input may take
MAX_SECONDS = 20
MAX_MEMORY = 1 << 30
#: inputs of a subject in one run; the long run covers other seeds
SHORT, LONG = 40, 8000
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
    torch.save(chosen(rng), path, _use_new_zipfile_serialization=False)
    path.write_bytes(mutate(path.read_bytes(), rng, OPCODES, 700))
    return path


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


def use(path: Path) -> None:
    """Do what commands do with an unknown file, without rendering."""

    def convert(path: Path) -> None:
        plan_conversion(str(path), output=path.parent / "out.safetensors")

    def read(path: Path) -> None:
        for tensor in open_weights(path).tensors.values():
            tensor.read()

    uses: tuple[Callable[[Path], object], ...] = (identify, convert)
    if path.is_file():
        uses += (load_motion_module, lambda path: open_lora(open_weights(path), strict=False), read)
    for function in uses:
        with contextlib.suppress(AnimdiffError):
            function(path)


SUBJECTS = {"safetensors": safetensors, "zip": pickle_in_zip, "legacy": legacy_pickle, "folder": model_folder}


def check(subject: str, seed: int, folder: Path) -> str | None:
    """Run one input. Returns what went wrong; None if nothing did."""
    work = folder / f"{subject}-{seed}"
    work.mkdir(parents=True)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        use(SUBJECTS[subject](work, random.Random(seed)))
    except Exception:
        return traceback.format_exc()
    finally:
        shutil.rmtree(work)
    took, grew = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if took > MAX_SECONDS or grew * 1024 > MAX_MEMORY:
        return f"took {took:.1f} s and {grew >> 10} MB"
    return None


def run(subject: str, seeds: range, folder: Path) -> None:
    """Run inputs in a child process."""
    log = folder / "seed"

    def child() -> None:
        for seed in seeds:
            log.write_text(f"{seed}: crash or hang")
            if problem := check(subject, seed, folder):
                log.write_text(f"{seed}: {problem}")
                os._exit(1)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(MAX_SECONDS + len(seeds))
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode == 0, f"{subject}, seed {log.read_text()}"


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("subject", SUBJECTS)
def test_damaged_weights_end_in_a_sentence(subject, tmp_path):
    run(subject, range(SHORT), tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("subject", SUBJECTS)
def test_many_damaged_weights_end_in_a_sentence(subject, tmp_path):
    run(subject, range(SHORT, LONG), tmp_path)
