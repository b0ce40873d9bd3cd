"""The packages that are published: metadata, and the files of wheel and sdist."""

import re
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def metadata():
    return ProjectMetadata(str(ROOT), PluginManager())


@pytest.fixture(scope="module")
def wheel():
    return {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}


@pytest.fixture(scope="module")
def sdist():
    return {file.relative_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}


def test_the_metadata_describes_the_package(metadata):
    core = metadata.core
    assert core.authors and core.keywords and core.license_expression == "Apache-2.0"
    assert "Typing :: Typed" in core.classifiers
    assert core.readme_content_type == "text/markdown"


def test_the_long_description_has_no_relative_link(metadata):
    readme = metadata.core.readme
    targets = re.findall(r"\]\(([^)]*)\)", readme)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert readme.startswith("# animdiff") and "```console" in readme


@pytest.mark.parametrize(
    "file",
    [
        "py.typed",
        "presets/toonyou.yaml",
        "registry/catalog.yaml",
        "metrics/report.css",
        "outputs/theme.css",
        "gallery/web/gallery.html",
        "gallery/web/main.js",
        "pocket/unet/diffusion_pytorch_model.safetensors",
        "pocket/motion_module.safetensors",
        "pocket/motion_loras/camera-pan-right.safetensors",
        "weights/configs/clip/vocab.json",
        "core/events.schema.json",
    ],
)
def test_the_wheel_contains(wheel, file):
    assert f"animdiff_cli/{file}" in wheel


def test_the_wheel_contains_the_package_only(wheel):
    assert {path.partition("/")[0] for path in wheel} == {"animdiff_cli"}
    presets = {f"animdiff_cli/presets/{path.name}" for path in (ROOT / "presets").iterdir()}
    assert presets <= wheel


def test_the_sdist_contains_what_its_tests_read(sdist):
    tops = {path.partition("/")[0] for path in sdist}
    folders = {"animdiff_cli", "presets", "tests", "tools", "benchmarks", "docs", ".github"}
    files = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "constraints.txt"}
    assert folders | files | {"hatch_build.py", "mkdocs.yml"} <= tops
    assert not [path for path in sdist if re.search(r"__pycache__|\.pyc$|safetensors\.part|^site/", path)]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_issue_forms_are_valid(form):
    content = yaml.safe_load(form.read_text())
    if form.stem == "config":
        return
    assert {"name", "description", "body"} <= set(content)
    assert len({entry["id"] for entry in content["body"]}) == len(content["body"])
    assert all(entry["type"] in ("input", "textarea") and entry["attributes"]["label"] for entry in content["body"])
