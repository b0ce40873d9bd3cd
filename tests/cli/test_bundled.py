"""What ships in the package is what the catalog says, renders together, and stays small."""

import json

import pytest

from animdiff_cli.paths import pocket_dir
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.weights.identify import identify

BUNDLED = [entry for entry in load_catalog().entries if entry.bundled not in (None, ".")]
LARGEST = 60_000_000  # bytes, of everything


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.alias)
def test_each_file_is_what_the_catalog_says(entry):
    info = identify(pocket_dir() / entry.bundled)
    assert (info.kind, info.base, info.version) == (entry.kind, "pocket", entry.version)
    assert {"animdiff.training", "recipe"} & info.metadata.keys()  # how it was made travels with it


def test_the_bundle_is_small():
    assert sum(path.stat().st_size for path in pocket_dir().rglob("*") if path.is_file()) <= LARGEST


def test_its_parts_render_together(animdiff, tmp_path):
    words = ["--prompt", "a red rocket in the night sky", "--steps", "1", "--frames", "2", "-f", "frames"]
    parts = ["--motion-lora", "pocket-tilt-up@0.8", "--motion-lora", "pocket-zoom-in@0.5"]
    parts += ["--domain-adapter", "pocket-adapter@0.5", "--lora", "pocket-crayon", "--lora", "pocket-neon@0.2"]
    result = animdiff("generate", "--model", "pocket", *parts, *words, "-o", tmp_path / "clip")
    assert result.exit_code == 0, result.stderr
    assert len(list((tmp_path / "clip").glob("*.png"))) == 2


@pytest.mark.parametrize("name", ["pocket", pocket_dir()])
def test_inspect_knows_the_bundled_model_by_name_and_by_path(animdiff, name):
    facts = json.loads(animdiff("inspect", name, "--json").stdout)
    assert (facts["kind"], facts["base"], facts["alias"]) == ("base", "pocket", "pocket")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("guoyww/animatediff", "for the Hugging Face repository, type `hf:guoyww/animatediff`"),
        ("mm-v3", "run `animdiff fetch mm-v3`"),
    ],
)
def test_inspect_of_weights_that_are_elsewhere_hints_at_them(animdiff, name, hint):
    result = animdiff("inspect", name)
    assert result.exit_code == 3 and f"hint: {hint}" in result.stderr
