"""The commands, flags, links and paths in the documentation exist, and transcripts are complete."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from animdiff_cli import errors
from animdiff_cli.cli import app
from animdiff_cli.outputs import write_clip
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.paths import pocket_dir
from benchmarks import memory_table
from tests.toy_networks import flat, ip_adapter_tensors, make_image_encoder, write_controls, write_depth
from tools.docs.transcripts import BLOCK, GUIDE, SCENES, lasting

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
COMMANDS = sorted(
    {line[2:] for page in PAGES for line in page.read_text().splitlines() if line.startswith("$ animdiff")}
)
#: what commands do is checked, not what clips show
SMALL = ("--set", "width=64", "--set", "height=64", "--device", "cpu")
GROUPS = ("models", "presets", "config")


@pytest.fixture
def guide(tmp_path, monkeypatch):
    """Go to an empty folder; return the text of a guide and its commands."""
    monkeypatch.chdir(tmp_path)

    def read(name):
        page = (DOCS / "guides" / f"{name}.md").read_text()
        return page, [line for line in page.splitlines() if line.startswith("$ animdiff")]

    return read


def run(line, *more):
    """Run a command of a guide with further words; returns the result of one that succeeds."""
    result = CliRunner().invoke(app, [*shlex.split(line)[2:], *map(str, more)])
    assert result.exit_code == 0, (line, result.output)
    return result


def test_changed_steps_are_not_the_default_ones(guide):
    line = next(line for line in guide("generate")[1] if " --seed 7 --steps " in line)
    steps = re.compile(r"\d+ steps of .*")
    default, changed = (
        run(command, "--dry-run", "--device", "cpu").output for command in (line.split(" --steps")[0], line)
    )
    assert steps.search(default)[0] != steps.search(changed)[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_flag_exists(command):
    words = command.split()[1:]
    names = words[:2] if words[0] in GROUPS else words[:1]
    shown = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "200"}).output
    assert "Usage" in shown
    for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*", command.partition(" | ")[0]):
        assert flag in shown, flag


def test_the_commands_of_the_rendering_guide_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "guides" / "generate.md").read_text()
    Path("night.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    for line in page.splitlines():
        if not line.startswith("$ animdiff"):
            continue
        words = shlex.split(line)[2:]
        if words[0] == "generate":
            words += ["--no-fetch", "--set", "num_frames=2", "--steps", "1"]
            if "-o fish.gif" not in line and "--json" not in line:
                words.append("--dry-run")  # checks the same; rendering them all would take a minute
        result = CliRunner().invoke(app, words)
        assert result.exit_code == (3 if "--model ./" in line or "toonyou" in line else 0), (line, result.output)


def test_the_commands_of_the_guide_to_curves_run(guide):
    page, lines = guide("curves")
    Path("curves.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    for number, line in enumerate(lines):
        run(line, "--frames", 4, "--steps", 3, *SMALL, "-o", f"{number}.gif")
    assert [path.name for path in sorted(Path().glob("*.gif"))] == [f"{number}.gif" for number in range(len(lines))]


def test_the_commands_of_the_guide_to_speed_run(guide):
    _, lines = guide("fast")
    for number, line in enumerate(lines):
        result = run(line, "--frames", 2, "--steps", 2, *SMALL, "-o", f"{number}.gif")
        assert ("against the exact clip: PSNR" in result.output) == ("--compare-exact" in line)


def test_the_commands_of_the_guide_to_small_cards_run(guide):
    page, lines = guide("small-cards")
    for line in lines:
        run(line, *(["--frames", 2, "--steps", 1, *SMALL] if line.startswith("$ animdiff generate") else []))
    for table in (memory_table.cards, memory_table.modes):
        assert "\n".join(table(memory_table.records())) in page


def test_the_commands_of_the_guide_to_prompts_run(guide):
    page, lines = guide("prompts")
    for name, text in zip(("travel", "regions"), re.findall(r"```yaml\n(.*?)```", page, re.DOTALL), strict=True):
        Path(f"{name}.yaml").write_text(text)
    write_halves()
    Path("travel.txt").write_text(re.search(r"```text\n(.*?)```", page, re.DOTALL)[1])
    Path("words").mkdir()
    Path("words/colour.txt").write_text("red\npink\n")
    for number, line in enumerate(lines):
        result = run(line, "--set", "num_frames=12", "--steps", 1, *SMALL, "-o", f"{number}-{{seed}}.gif")
        assert "note:" not in result.stderr
    assert len({path.name.partition("-")[0] for path in Path().glob("*.gif")}) == len(lines) == 11


def write_halves():
    """Write masks of the left and the right half of a picture."""
    for name, columns in (("left", [255, 0]), ("right", [0, 255])):
        Image.fromarray(np.repeat(np.uint8([columns]), 32, axis=1).repeat(64, axis=0)).save(f"{name}.png")


def test_the_commands_of_the_guide_to_control_run(guide):
    page, lines = guide("control")
    Path("control.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    write_controls(pocket_dir() / "unet", Path("control_canny"), Path("sparsectrl_rgb.ckpt"))
    write_depth(Path("depth-anything"))
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    write_clip(noise, 8, Path("dance.mp4"), "mp4", {"config": {}})
    Image.fromarray(noise[0]).save("rocket.png")
    for number, line in enumerate(lines):
        run(line, "--frames", 10, "--steps", 1, *SMALL, "-o", f"{number}.gif")
    assert len(list(Path("seen/1-0-dance").glob("*.png"))) == 10 and len(lines) == 8


def test_the_commands_of_the_guide_to_image_prompts_run(guide):
    page, lines = guide("image-prompts")
    Path("pictures.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    Path("adapter").mkdir()
    tensors = ip_adapter_tensors(UNet2DConditionModel.from_pretrained(pocket_dir() / "unet"))
    save_file(flat(tensors), "adapter/ip-adapter.safetensors")
    make_image_encoder().save_pretrained("adapter/image_encoder")
    Path("pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    names = ("rocket", "day", "night", "pictures/1", "pictures/2", "pictures/3")
    for name, picture in zip(names, noise, strict=True):
        Image.fromarray(picture).save(f"{name}.png")
    for number, line in enumerate(lines):
        run(line, "--frames", 10, "--steps", 1, *SMALL, "-o", f"{number}.gif")
    assert len({Path(f"{number}.gif").read_bytes() for number in range(len(lines))}) == len(lines) == 5


def test_the_commands_of_the_guide_to_pictures_and_videos_run(guide):
    _, lines = guide("images-and-videos")
    given = {f"{name}.png": np.repeat(np.uint8([255, 255, 0]), 16) for name in ("sky", "first", "last", "fox")}
    for name, column in given.items():
        Image.fromarray(np.tile(column[:, None], (1, 48))).save(name)
    for line in lines:
        small = ["--steps", "2", *SMALL, *([] if "--video" in line else ["--set", "num_frames=10"])]
        if "toonyou" in line:
            result = CliRunner().invoke(app, [*shlex.split(line)[2:], *small])
            assert (result.exit_code, result.stderr.count("animdiff fetch pia")) == (3, 1), (line, result.output)
            continue
        assert "note:" not in run(line, *small).stderr, line
    made = {shlex.split(line)[-1] for line in lines if " -o " in line}
    assert made | set(given) == {path.name for path in Path().iterdir()}


def test_every_scene_is_recorded_in_the_guide():
    recorded = {match["name"]: match["text"] for match in BLOCK.finditer(GUIDE.read_text())}
    assert list(recorded) == [name for name, _ in SCENES]
    assert all(text.startswith("$ ") for text in recorded.values())


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_every_link_and_path_exists(page):
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link.partition("#")[0] for link in re.findall(r"\]\((?!http|#)([^)]+)\)", text)]
    paths = [ROOT / path for path in re.findall(r"`((?:animdiff_cli|tests|tools|docs|benchmarks)/[\w./-]+)`", text)]
    assert [str(path) for path in (*links, *paths) if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_names_a_machine(page):
    assert not re.search(r"127\.0\.0\.1|localhost|/tmp/|/home/|/root/|/Users/", page.read_text())


def test_volatile_lines_are_not_compared():
    assert lasting("$ a | b\n1 to fetch; 3 GB free on the disk\nx: 10 % of 3 GB, 1 MB/s\n") == "$ a | b\n\n\n"


def test_every_exit_code_has_its_row():
    table = (DOCS / "reference" / "exit-codes.md").read_text()
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.AnimdiffError)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes | {0, 130}


def test_the_commands_of_the_guide_to_long_clips_run(guide):
    _, lines = guide("long-clips")
    for line in lines:
        in_windows = "--context" in line or "free-noise" in line
        length = ["--frames", 20, "--context-length", 12] if in_windows else ["--frames", 4]
        run(line, "--steps", 1, *SMALL, *length)
    assert len(read_clip(Path("both.mp4")).frames) == 8 and len(read_clip(Path("second.mp4")).frames) == 4
