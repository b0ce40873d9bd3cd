"""The catalog: entries are valid and aliases are unique."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import load_catalog, read_catalog
from animdiff_cli.registry.catalog_files import CATALOG

ENTRIES = load_catalog().entries
BY_ALIAS = {entry.alias: entry for entry in ENTRIES}
MOVES = {
    f"{move}-{way}"
    for move, ways in {
        "zoom": ("in", "out"),
        "pan": ("left", "right"),
        "tilt": ("up", "down"),
        "rolling": ("clockwise", "anticlockwise"),
    }.items()
    for way in ways
}
ENTRY = "- {alias: a, kind: base, base: sd15, description: x, sources: ['hf:org/repo/f.ckpt']"


def _ids(entry):
    return entry.alias


def test_the_weights_of_the_paper_are_listed():
    modules = {"mm-v1-sd14", "mm-v1", "mm-v2", "mm-v3", "mm-sdxl-beta"}
    assert modules | MOVES | {"v3-adapter", "sparsectrl-rgb", "sparsectrl-scribble"} <= BY_ALIAS.keys()


def test_the_eight_camera_motion_loras_require_the_v2_module():
    moves = {entry.alias: entry for entry in load_catalog().of_kind("motion-lora") if entry.base == "sd15"}
    assert moves.keys() == MOVES
    assert all(move.requires == ("mm-v2",) and move.version == "v2" for move in moves.values())


def test_aliases_are_unique():
    names = Counter(name for entry in ENTRIES for name in (entry.alias, *entry.aliases))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=_ids)
def test_every_alias_parses_as_an_alias(entry):
    for name in (entry.alias, *entry.aliases):
        assert parse_ref(name).source == "alias"
        assert load_catalog().find(parse_ref(name.upper()).target) == entry


def test_no_two_entries_share_a_hash_or_a_download_path():
    hashes = Counter(entry.sha256 for entry in ENTRIES if entry.sha256)
    places = Counter((entry.kind, entry.store_name.lower()) for entry in ENTRIES)
    assert max(hashes.values()) == 1
    assert max(places.values()) == 1


def test_hashes_are_64_hexadecimal_digits_and_not_refused():
    for entry in ENTRIES:
        assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert not any((entry.sha256 or "").startswith(refused) for refused in entry.refused_sha256)


@pytest.mark.parametrize("entry", ENTRIES, ids=_ids)
def test_required_and_recommended_models_exist_and_have_the_same_base(entry):
    module = entry.recommended.get("motion_module")
    for alias in (*entry.requires, *([module] if module else [])):
        assert BY_ALIAS[alias].base == entry.base or BY_ALIAS[alias].kind == "image-encoder"  # for every base
    assert resolve(GenerateConfig, [Layer(entry.alias, entry.recommended)]).values.items() >= entry.recommended.items()


@pytest.mark.parametrize("entry", ENTRIES, ids=_ids)
def test_every_entry_has_a_source_or_is_bundled(entry):
    if entry.bundled is None:
        assert entry.address.startswith("https://")
    else:
        assert entry.base == "pocket"


def test_official_files_are_pinned_to_a_revision():
    for entry in ENTRIES:
        if any(source.startswith("hf:guoyww/animatediff/") for source in entry.sources):
            assert re.search(r"/resolve/[0-9a-f]{40}/", entry.address)


def test_the_superseded_upload_of_the_v3_module_is_refused():
    refused = BY_ALIAS["mm-v3"].refused_sha256
    assert refused == ("90a187bb1b937ba2bd9941fc1f6a0eb4437ad7d327897c2bc02e0070632b5cb9",)


def test_a_typo_suggests_the_closest_alias():
    with pytest.raises(NotFound, match="unknown model alias `toonyuo`") as refusal:
        load_catalog().find("toonyuo")
    assert refusal.value.hint == "did you mean `toonyou`?"
    assert refusal.value.exit_code == 3


def test_an_unknown_alias_hints_at_the_path_syntax():
    with pytest.raises(NotFound) as refusal:
        load_catalog().find("xyzzy")
    assert "`./xyzzy`" in (refusal.value.hint or "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1", "not a list"),
        (f"{ENTRY}, sha256: abc}}", "`a`: `sha256`"),
        (f"{ENTRY}, colour: red}}", "`a`: `colour`"),
        (f"{ENTRY}, bundled: x}}", "exactly one of"),
        (f"{ENTRY}, bytes: 0}}", "`a`: `bytes`"),
        (f"{ENTRY}, recommended: {{stepps: 3}}}}", "unknown key `stepps`"),
        (f"{ENTRY}, file: ../x}}", "`a`: `file`"),
        (f"{ENTRY}}}\n{ENTRY}}}", "two models have the alias `a`"),
        ("- {alias: a, kind: base, base: sd15, description: x, sources: [toonyou]}", "not a download source"),
        ("- 3", "`?`"),
    ],
)
def test_an_invalid_catalog_is_refused_with_the_entry_named(tmp_path, content, message):
    path = tmp_path / "catalog.yaml"
    path.write_text(content)
    with pytest.raises(UsageError) as refusal:
        read_catalog(path)
    assert message in str(refusal.value)


def test_importing_the_registry_reads_no_catalog_and_imports_no_torch():
    code = (
        "import sys, animdiff_cli.registry.store, animdiff_cli.registry.recommend\n"
        "from animdiff_cli.registry.catalog import shipped_catalog\n"
        "print(shipped_catalog.cache_info().misses, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "False"]


def test_the_catalog_is_packaged():
    assert CATALOG.is_file()
