"""Text of strangers: YAML, JSON, metadata files, catalogs, recipes, references and prompts.

Good texts with a few pieces inserted, cut, repeated or replaced.
"""

import json
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from animdiff_cli.config.layers import Layer, resolve, set_layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.train_layers import file_layer, resolve_training
from animdiff_cli.config.yamlfile import read_mapping, read_yaml
from animdiff_cli.core.naming import output_name, slug
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.text import json_line, printable
from animdiff_cli.fetch.local import read_download_record
from animdiff_cli.jobs.recipe import check_recipe
from animdiff_cli.outputs.provenance import read_recipe
from animdiff_cli.paths import models_dir
from animdiff_cli.registry.catalog import check_catalog, web_address
from animdiff_cli.registry.catalog_files import CATALOG
from animdiff_cli.registry.metadata import read_metadata
from animdiff_cli.registry.model_dirs import ref_download_path
from tests.fuzz.harness import Subject, require_equal

SETTINGS = """\
prompt: a fox, running
negative_prompt: ""
seed: 7
steps: 25
guidance_scale: 7.5
width: 512
model: pocket
loras: [style@0.5, ./other.safetensors]
"""
TRAINING = """\
stage: motion-lora
model: pocket
motion_module: pocket-motion
steps: 100
lr: 1.0e-4
data:
  videos: clips
  num_frames: 16
  size: 128
"""
RECIPE = json.dumps({"animdiff": 1, "config": {"prompt": "a fox", "model": "pocket", "seed": 1}, "weights": {}})
METADATA = json.dumps(
    {"base": "sd15", "description": "ink", "trigger_words": ["ink"], "recommended": {"steps": 8}, "sha256": "ab" * 32}
)
REFERENCES = (
    "zoom-in@0.8 hf:org/repo/a/b.ckpt@main civitai:30240@78775 https://host/x.safetensors?a=b ~/x.pt C:\\m.ckpt"
)
#: two entries of the shipped catalog
SHIPPED = "\n- alias:".join(CATALOG.read_text(encoding="utf-8").split("\n- alias:")[1:3]).join(("- alias:", "\n"))
#: pieces that break readers: nesting, aliases, tags, numbers, control and bidi characters, surrogates
PIECES = (
    *("[" * 90, "[" * 5000, "{" * 300, "]", "}", "- " * 50, "&a [*a, *a]", "*a", "!!int", "!!bool x", "!!map [x]"),
    *("!!python/name:os.system", "!!binary x", "<<: *a", "9" * 5000, "1e999", "-0", ".nan", "0x", "NaN", "Infinity"),
    *("null", "true", '"', "'", "\\", "\\ud800", "\x00", "\x1b[2J", "\x9b", "\u202e", "\ufeff", "\u2028", "\u3000"),
    *("😀", "\udce9", "a" * 300, "../" * 9, "~nosuchuser/", "%s%n", "{seed", "{0}", "{slug!r:>9999}", "@1", "hf:"),
    *("//", "\t", "\n", ": ", ", ", "#", "2026-01-01", "1_000", "<lora:x:1>", "(a:1.3)", "BREAK", "__x__", "{a|b}"),
)


def mutated(random_: random.Random, text: str) -> str:
    """Return `text` with a few pieces inserted, cut, repeated or replaced."""
    for _ in range(random_.randint(1, 4)):
        start = random_.randint(0, len(text))
        end = min(len(text), start + random_.choice((0, 1, 3, 20)))
        middle = random_.choice((random_.choice(PIECES), "", text[start:end] * random_.choice((2, 40))))
        text = text[:start] + middle + text[end:]
    return text


def maker(name: str, *texts: str) -> Callable[[Path, random.Random], Path]:
    """Return a function that writes a mutation of one of the texts."""

    def make(folder: Path, random_: random.Random) -> Path:
        text = mutated(random_, random_.choice(texts))
        path = folder / name
        path.write_bytes(text.encode(errors="surrogateescape" if random_.random() < 0.5 else "replace"))
        return path

    return make


def text_of(path: Path) -> str:
    """Return the text of an input as Python passes arguments of the command line."""
    return path.read_bytes().decode(errors="surrogateescape")


def settings(path: Path) -> None:
    """Resolve a config file, as a recipe stores it too."""
    require_stable(resolve(GenerateConfig, [Layer("file", read_mapping(path))]).config)


def assignments(path: Path) -> None:
    """Resolve `--set key=value`."""
    require_stable(resolve(GenerateConfig, [set_layer(GenerateConfig, text_of(path).split("\n"))]).config)


def require_stable(config: GenerateConfig) -> None:
    """Raise `AcceptedWrongly` unless a config is the same after it was stored in a recipe."""
    stored = json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
    require_equal(resolve(GenerateConfig, [Layer("recipe", stored)]).config, config, "the stored config")


def training(path: Path) -> None:
    """Resolve the config of a training, as its metadata stores it."""
    config = resolve_training("motion-lora", [file_layer(path)]).config
    json.dumps(config.model_dump(mode="json"), allow_nan=False).encode()


def catalog(path: Path) -> None:
    """Read a catalog."""
    for entry in check_catalog(read_yaml(path), path).entries:
        require_equal(printable(entry.alias), entry.alias, "the alias")


def recipe(path: Path) -> None:
    """Read a recipe."""
    read = check_recipe(read_recipe(path), path.name)
    reference = json.loads(path.read_bytes().decode("utf-8-sig", errors="replace"))
    require_equal(json_line(read), json_line(reference), "the recipe")


def reference(path: Path) -> None:
    """Parse a reference with and without a scale."""
    for scaled in (False, True):
        ref = parse_ref(text_of(path), scaled=scaled)
        require_equal(parse_ref(str(ref), scaled=scaled), ref, "the reference")
        web_address(ref)
        if ref.source not in ("alias", "path"):
            inside = ref_download_path(ref).relative_to(models_dir())
            require_equal(".." in inside.parts, False, "whether it leaves the models folder")


def prompt(path: Path) -> None:
    """Name a file after a prompt, and print the prompt."""
    text = text_of(path)
    require_equal(1 <= len(slug(text)) <= 45, True, "whether the slug has a good length")
    require_equal(printable(printable(text)), printable(text), "the printed text")
    require_equal(json.loads(json_line({"prompt": text})), {"prompt": text}, "the JSON")
    printable(text).encode()


def template(path: Path) -> None:
    """Expand a template of output names."""
    output_name("a red fox", 1, datetime(2026, 1, 1), template=text_of(path))


def metadata(path: Path) -> None:
    """Read the metadata file and the download record beside a weight file."""
    weights = path.with_suffix("")
    read_metadata(weights)
    read_download_record(weights)


SUBJECTS = {
    name: Subject(maker(name, *texts), (read,), 40, full)
    for name, texts, read, full in (
        ("settings.yaml", (SETTINGS,), settings, 4000),
        ("assignments.txt", (SETTINGS.replace(": ", "="),), assignments, 4000),
        ("training.yaml", (TRAINING,), training, 4000),
        ("catalog.yaml", (SHIPPED,), catalog, 4000),
        ("recipe.json", (RECIPE,), recipe, 4000),
        ("x.safetensors.json", (METADATA,), metadata, 4000),
        ("reference.txt", tuple(REFERENCES.split()), reference, 4000),
        ("prompt.txt", ("a red fox, running",), prompt, 4000),
        ("template.txt", ("{date}/{slug}_{seed:03}",), template, 4000),
    )
}
