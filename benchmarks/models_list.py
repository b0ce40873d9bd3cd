"""Time `animdiff models list` in folders of many files, and any command with a large catalog.

Run `python -m benchmarks.models_list`. Prints seconds of the first run, which fills caches, and of the best of three.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from animdiff_cli import paths

FILES, ENTRIES = 2000, 5000


def main() -> None:
    """Make the files in a temporary folder, run the commands and print a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_loras(folder / "extra" / "loras")
        _write_catalog(folder / "large")
        home = {f"ANIMDIFF_{key.upper()}": str(folder / key) for key in ("models", "cache", "config")}
        home |= {"HF_HOME": str(folder / "hf"), "OMP_WAIT_POLICY": "PASSIVE"}
        extra = {"ANIMDIFF_EXTRA_MODELS": str(folder / "extra")}
        catalog = {"ANIMDIFF_CONFIG": str(folder / "large")}
        print(f"{'':<44}  first   warm")
        _report(f"models list, {FILES} files", ["models", "list"], home | extra)
        _report(f"models path, catalog of {ENTRIES}", ["models", "path", "pocket"], home | catalog)
        _report(f"models list --all, catalog of {ENTRIES}", ["models", "list", "--all"], home | catalog)
        _report("models path, empty catalog", ["models", "path", "pocket"], home)


def _write_loras(folder: Path) -> None:
    """Write files with headers of their own, so that each has another hash."""
    folder.mkdir(parents=True)
    raw = (paths.pocket_dir() / "loras" / "style-neon.safetensors").read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    for number in range(FILES):
        text = json.dumps(header | {"__metadata__": {"number": str(number)}}).encode()
        (folder / f"style_{number}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw[end:])


def _write_catalog(folder: Path) -> None:
    folder.mkdir()
    entries = [
        {
            "alias": f"style-{number}",
            "kind": "lora",
            "base": "sd15",
            "description": f"Style {number}.",
            "sources": [f"hf:someone/styles/style_{number}.safetensors"],
            "sha256": f"abc{number:061x}",
            "bytes": 1_000_000 + number,
            "recommended": {"steps": 20, "guidance_scale": 7.5},
        }
        for number in range(ENTRIES)
    ]
    (folder / "catalog.yaml").write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")


def _report(name: str, words: list[str], environ: dict[str, str]) -> None:
    first, *warm = [_seconds(words, environ) for _ in range(4)]
    print(f"{name:<44}  {first:5.2f}  {min(warm):5.2f}", flush=True)


def _seconds(words: list[str], environ: dict[str, str]) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "animdiff_cli", *words]
    subprocess.run(command, env=os.environ | environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
