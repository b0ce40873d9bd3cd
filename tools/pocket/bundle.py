"""`python -m tools.pocket bundle FILE…`: install results of `animdiff train-*` into the bundle."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from animdiff_cli.weights.info import KIND_KEY
from tools.pocket.card import model_card
from tools.pocket.save import MADE_BY, MOTION_FILE, read_recipe, write_weights

#: folder of each kind; a motion module replaces the previous one
FOLDERS = {"motion-lora": "motion_loras", "lora": "loras", "domain-adapter": "."}
#: networks that `control`, `sparse` and `image-prompt` write, with their recipe
CONDITIONS = ("controlnet_*/*.safetensors", "sparsectrl_*.safetensors", "ip_adapter/**/*.safetensors")
TRAINED = ("adapter.safetensors", "*loras/*.safetensors")


def main(argv: Sequence[str]) -> int:
    """Copy the files and rewrite the model card; return the exit status."""
    arguments = _parser().parse_args(argv)
    for file in arguments.files:
        print(install(file, arguments.bundle, minutes=arguments.minutes))
    write_card(arguments.bundle)
    return 0


def install(file: Path, bundle: Path, *, minutes: float | None = None) -> Path:
    """Copy one file, with its training metadata, to the folder of its kind; return the path."""
    with safe_open(file, framework="pt") as opened:
        metadata: dict[str, str] = dict(opened.metadata())
    kind = metadata[KIND_KEY]
    if kind == "motion-module":
        recipe = read_recipe(bundle / MOTION_FILE)
        recipe["stages"] = [*_stages(recipe), {**training_facts(metadata), "minutes": minutes}]
        metadata["recipe"] = json.dumps(recipe)
    target = bundle / MOTION_FILE if kind == "motion-module" else bundle / FOLDERS[kind] / file.name
    target.parent.mkdir(exist_ok=True)
    write_weights(target, load_file(file), {**metadata, "license": "Apache-2.0"})
    return target


def training_facts(metadata: dict[str, str]) -> dict[str, Any]:
    """Return how a file was trained, from its metadata, in the form that the card uses."""
    record = json.loads(metadata["animdiff.training"])
    settings = record["config"]
    return {
        "stage": f"`{metadata[KIND_KEY]}`" + (f" {settings['data']['shot']}" if settings["data"].get("shot") else ""),
        "steps": record["steps"],
        "minutes": None,
        "batch": settings["batch"] * settings["accumulation"],
        "learning_rate": settings["lr"],
        "final_loss": round(record["loss"]["smoothed"], 5),
    }


def write_card(bundle: Path) -> None:
    """Write the bundle's README.md from the metadata of its weight files."""
    recipes = {file: read_recipe(bundle / file) for file in MADE_BY}
    for path in sorted(path for pattern in TRAINED for path in bundle.glob(pattern)):
        with safe_open(path, framework="pt") as opened:
            facts = training_facts(dict(opened.metadata()))
        recipes[path.relative_to(bundle).as_posix()] = {"stages": [facts]}
    for path in sorted(path for pattern in CONDITIONS for path in bundle.glob(pattern)):
        recipes[path.relative_to(bundle).as_posix()] = read_recipe(path)
    (bundle / "README.md").write_text(model_card(recipes))


def _stages(recipe: dict[str, object]) -> list[object]:
    stages = recipe["stages"]
    assert isinstance(stages, list)
    return stages


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser("python -m tools.pocket bundle", description=__doc__)
    flags.add_argument("files", type=Path, nargs="*", help="results of `animdiff train-*`; none writes the card anew")
    flags.add_argument("--bundle", type=Path, default=Path("animdiff_cli/pocket"))
    flags.add_argument("--minutes", type=float, help="how long the training took, for the card")
    return flags


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
