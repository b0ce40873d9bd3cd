"""`animdiff models` end to end: files, output and exit codes."""

import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import save_file

from animdiff_cli import paths
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.catalog_files import user_catalog_path

MODULE = paths.PACKAGE / "pocket" / "motion_module.safetensors"
SHA256 = hashlib.sha256(MODULE.read_bytes()).hexdigest()
BUNDLED = {entry.alias for entry in load_catalog().entries if entry.bundled}
RUN = [sys.executable, "-c", "from animdiff_cli.cli import main; main()"]


@pytest.fixture
def models(here):
    """The models folder."""
    return paths.models_dir()


@pytest.fixture
def module(models):
    """A motion module copied into the models folder."""
    path = models / "motion-module" / "Ink_Motion.safetensors"
    path.parent.mkdir(parents=True)
    shutil.copy(MODULE, path)
    return path


@pytest.fixture
def comfy(here, monkeypatch):
    """A motion module in a ComfyUI folder."""
    path = here.parent / "ComfyUI" / "models" / "animatediff_models" / "theirs.safetensors"
    path.parent.mkdir(parents=True)
    shutil.copy(MODULE, path)
    monkeypatch.setenv("ANIMDIFF_EXTRA_MODELS", str(here.parent / "ComfyUI"))
    return path


def json_lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_shows_local_models_and_hints_at_all(animdiff, module, comfy):
    result = animdiff("models", "list")
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert rows.keys() == {"NAME", *BUNDLED, "Ink_Motion", "theirs"}
    assert rows["Ink_Motion"] == ["motion-module", "pocket", "6.35", "MB", "local"]
    assert rows["theirs"][-1] == str(comfy.parent)
    assert "animdiff models list --all" in result.stderr


def test_all_adds_downloadable_models_and_filters_select(animdiff, module):
    records = json_lines(animdiff("models", "list", "--all", "--json"))
    assert len(records) > 70
    assert {record["name"] for record in records if record["here"]} == {*BUNDLED, "Ink_Motion"}
    chosen = json_lines(animdiff("models", "list", "--all", "--json", "--kind", "motion-module", "--base", "sdxl"))
    assert {"mm-sdxl-beta"} <= {record["name"] for record in chosen}
    assert {(record["kind"], record["base"]) for record in chosen} == {("motion-module", "sdxl")}


def test_quiet_prints_names_that_resolve(animdiff, module, comfy):
    shutil.copy(module, module.with_name("with a space.safetensors"))
    names = animdiff("models", "list", "-q").stdout.splitlines()
    assert str(module.with_name("with a space.safetensors")) in names
    for name in names:
        assert animdiff("models", "path", name).exit_code == 0, name


def test_copies_in_two_folders_are_listed_under_distinct_names(animdiff, module, comfy):
    shutil.copy(module, comfy.with_name(module.name))
    names = animdiff("models", "list", "-q").stdout.splitlines()
    found = [animdiff("models", "path", name).stdout.strip() for name in names if "Ink_Motion" in name]
    assert found == [str(module), str(comfy.with_name(module.name))]


def test_a_damaged_file_is_listed_with_its_problem(animdiff, models):
    path = models / "lora" / "cut.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(MODULE.read_bytes()[:1000])
    result = animdiff("models", "list")
    assert "cut  " in result.stdout
    assert "note: cut: cut.safetensors is not a valid safetensors file" in result.stderr


def test_an_invalid_metadata_file_is_listed_with_its_problem_beside_the_other_models(animdiff, module):
    other = module.with_name("other.safetensors")
    shutil.copy(module, other)
    other.with_name("other.safetensors.json").write_text('{"base": 5}')
    listed = {record["name"]: record for record in json_lines(animdiff("models", "list", "--json"))}
    assert "`base`" in listed["other"]["problem"]
    assert listed[module.stem]["problem"] is None


def test_a_file_in_the_wrong_folder_is_listed_with_its_real_kind(animdiff, models):
    (models / "lora").mkdir(parents=True)
    shutil.copy(MODULE, models / "lora" / "mm.safetensors")
    (record,) = [r for r in json_lines(animdiff("models", "list", "--json")) if r["name"] == "mm"]
    assert (record["kind"], record["problem"]) == ("motion-module", "a motion-module in the folder of lora files")


def test_show_combines_catalog_metadata_and_file(animdiff, module):
    module.with_name(f"{module.name}.json").write_text('{"recommended": {"steps": 6}, "trigger_words": ["zzz"]}')
    shown = animdiff("models", "show", "ink_motion").stdout
    for text in ("motion-module", str(module), "fp16", "zzz", "steps", "max frames"):
        assert text in shown
    record = json_lines(animdiff("models", "show", "--json", "mm-v3"))[0]
    assert (record["here"], record["bytes"], record["inside"]) == (False, 1673262583, None)
    assert record["sources"][0].startswith("hf:guoyww/animatediff/v3_sd15_mm.ckpt@")


def test_show_lists_required_models(animdiff):
    assert re.search(r"Requires\n +mm-v2 +not downloaded", animdiff("models", "show", "zoom-in").stdout)


def test_path_prints_only_the_path_and_exits_with_3_if_missing(animdiff, module):
    assert animdiff("models", "path", "ink_motion").stdout == f"{module}\n"
    missing = animdiff("models", "path", "mm-v3")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert "hint: run `animdiff fetch mm-v3`" in missing.stderr


def test_a_copied_file_renders_with_the_settings_of_its_metadata_file(animdiff, module):
    module.with_name(f"{module.name}.json").write_text('{"recommended": {"steps": 6}}')
    words = ["--model", "pocket", "--motion-module", "ink_motion", "--prompt", "a red rocket"]
    result = animdiff("generate", *words, "--dry-run")
    assert "pocket with ink_motion, 6 steps" in result.stderr
    shown = animdiff("config", "show", "-m", "pocket", "--set", "motion_module=ink_motion").stdout
    assert "steps: 6" in shown and "# recommended for `ink_motion`" in shown


def test_a_file_without_a_known_hash_is_trusted_on_first_use(animdiff, module):
    first = animdiff("models", "verify")
    assert first.exit_code == 0
    assert "recorded" in first.stdout and "trusted on first use" in first.stderr
    assert animdiff("models", "verify", "-q").stdout == "Ink_Motion  ok\n"
    damage(module)
    damaged = animdiff("models", "verify")
    assert damaged.exit_code == 5
    assert damaged.stdout == "Ink_Motion  DIFFERS\n"
    assert "animdiff models rm Ink_Motion" in damaged.stderr


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_verify_prints_every_verdict_before_failing(animdiff, module, models):
    shutil.copy(module, module.with_name("other.safetensors"))
    animdiff("models", "verify")
    damage(module)
    result = animdiff("models", "verify", "--json")
    records = json_lines(result)
    assert [(record["name"], record["verdict"]) for record in records] == [("Ink_Motion", "differs"), ("other", "ok")]
    assert records[0]["expected"] == SHA256 != records[0]["sha256"]
    assert json.loads(result.stderr)["code"] == 5


def test_a_folder_is_verified_file_by_file(animdiff, models):
    folder = models / "base" / "mine"
    shutil.copytree(paths.PACKAGE / "pocket", folder)
    assert "mine  hash recorded" in animdiff("models", "verify", "mine").stdout
    damage(folder / "vae" / "diffusion_pytorch_model.safetensors")
    result = animdiff("models", "verify", "mine")
    assert result.exit_code == 5
    assert result.stdout == "mine  DIFFERS: vae/diffusion_pytorch_model.safetensors\n"


def test_nothing_is_written_to_folders_of_other_programs(animdiff, comfy):
    before = sorted(comfy.parents[2].rglob("*"))
    for words in (["list"], ["verify"], ["show", "theirs"], ["path", "theirs"]):
        assert animdiff("models", *words).exit_code == 0
    assert animdiff("models", "rm", "theirs", "--yes").exit_code == 2
    assert sorted(comfy.parents[2].rglob("*")) == before


def test_a_model_in_the_hub_cache_is_listed_and_verified_by_its_blob_name(animdiff, here):
    cache = paths.hub_cache_dir() / "models--manshoety--AD_Stabilized_Motion"
    blob, link = cache / "blobs" / SHA256, cache / "snapshots" / "c0ffee" / "mm-Stabilized_high.pth"
    for path in (blob, link, cache / "refs" / "main"):
        path.parent.mkdir(parents=True)
    shutil.copy(MODULE, blob)
    link.symlink_to(blob)
    (cache / "refs" / "main").write_text("c0ffee")
    assert re.search(r"mm-stabilized-high .* Hub cache\n", animdiff("models", "list").stdout)
    assert animdiff("models", "path", "mm-stabilized-high").stdout == f"{link}\n"
    assert animdiff("models", "verify").stdout == "mm-stabilized-high  ok\n"
    damage(blob)
    assert animdiff("models", "verify").exit_code == 5
    assert animdiff("models", "rm", "mm-stabilized-high", "--yes").exit_code == 2
    assert blob.exists()


def test_uncatalogued_weights_in_the_hub_cache_are_listed_and_unknown_files_are_not(animdiff):
    root = paths.hub_cache_dir() / "models--some--motions"
    file = root / "snapshots" / "c0ffee" / "ink" / "motion.safetensors"
    file.parent.mkdir(parents=True)
    shutil.copy(MODULE, file)
    (file.parent / "tokens.bin").write_bytes(b"of another program")
    for branch in ("main", "v1"):
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / branch).write_text("c0ffee")
    names = animdiff("models", "list", "-q").stdout.splitlines()
    assert [name for name in names if name.startswith("hf:")] == ["hf:some/motions/ink/motion.safetensors"]
    assert animdiff("models", "path", "hf:some/motions/ink/motion.safetensors").stdout.strip() == str(file)


def test_rm_also_removes_metadata_and_partial_downloads_and_prints_paths(animdiff, module):
    companions = [module.with_name(f"{module.name}{end}") for end in (".json", ".part", ".part.jsonl")]
    for path in companions:
        path.write_text("{}")
    result = animdiff("models", "rm", "ink_motion", "--yes")
    assert result.exit_code == 0
    assert set(result.stdout.splitlines()) == {str(module), *map(str, companions)}
    assert not [path for path in (module, *companions) if path.exists()]
    assert animdiff("models", "rm", "ink_motion", "--yes").exit_code == 3


def test_rm_needs_yes_without_a_terminal(animdiff, module):
    result = animdiff("models", "rm", "ink_motion")
    assert (result.exit_code, module.exists()) == (2, True)
    assert result.stderr == "error: not a terminal\nhint: confirm with `--yes`\n"


@pytest.mark.parametrize(("answer", "is_left"), [("n", True), ("", True), ("y", False)])
def test_rm_asks_on_a_terminal(module, answer, is_left):
    master, terminal = pty.openpty()
    child = subprocess.Popen([*RUN, "models", "rm", "ink_motion"], stdin=terminal, stderr=terminal, stdout=terminal)
    os.close(terminal)
    os.write(master, f"{answer}\n".encode())
    output = b""
    try:
        while chunk := os.read(master, 1024):
            output += chunk
    except OSError:  # Linux raises this when the other end is closed
        pass
    os.close(master)
    assert child.wait() == 0
    assert b"remove ink_motion (6.35 MB)? [y/N]" in output
    assert module.exists() == is_left


@pytest.mark.parametrize("folder", ["", "motion-module"])
def test_rm_refuses_a_folder_of_models(animdiff, module, models, folder):
    result = animdiff("models", "rm", str(models / folder), "--yes")
    assert result.exit_code == 2
    assert module.exists()


def test_rm_refuses_bundled_models(animdiff):
    result = animdiff("models", "rm", "pocket", "--yes")
    assert result.exit_code == 2
    assert (paths.PACKAGE / "pocket" / "model_index.json").is_file()


def test_add_stores_recommended_settings_and_the_file_hash(animdiff, comfy):
    settings = ["--set", "steps=4", "--set", "scheduler=euler", "--trigger", "ink on paper"]
    added = json_lines(animdiff("models", "add", "Ink", comfy, *settings, "--json"))[0]
    assert (added["alias"], added["kind"], added["version"]) == ("ink", "motion-module", "v3")
    assert (added["sha256"], added["path"]) == (SHA256, str(comfy))
    assert added["recommended"] == {"steps": 4, "scheduler": "euler"}
    words = ["--model", "pocket", "--motion-module", "ink", "--prompt", "a red rocket", "--dry-run"]
    assert "4 steps of euler" in animdiff("generate", *words).stderr
    assert animdiff("models", "verify", "ink").stdout == "ink  ok\n"
    assert "ink on paper" in animdiff("models", "show", "ink").stdout


def test_an_alias_in_use_needs_overwrite(animdiff, comfy):
    refused = animdiff("models", "add", "mm-v3", "theirs")
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr
    assert animdiff("models", "add", "mm-v3", "theirs", "--overwrite").exit_code == 0
    assert animdiff("models", "path", "mm-v3").stdout == f"{comfy}\n"


def test_forget_removes_the_alias_and_keeps_the_file(animdiff, comfy):
    animdiff("models", "add", "ink", "theirs")
    refused = animdiff("models", "rm", "ink", "--yes")
    assert refused.exit_code == 2 and "--forget" in refused.stderr
    assert animdiff("models", "rm", "ink", "--forget", "--yes").exit_code == 0
    assert comfy.exists() and "alias: ink" not in user_catalog_path().read_text()
    assert animdiff("models", "rm", "mm-v3", "--forget", "--yes").exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["x", "hf:org/repo/f.ckpt"], 2, "animdiff fetch hf:org/repo/f.ckpt"),
        (["x", "hf:org/repo/f.ckpt", "--kind", "lora"], 2, "--base sd15"),
        (["x", "./nowhere.ckpt"], 3, "no file or folder"),
        (["loras", "theirs"], 2, "group"),
        (["x.ckpt", "theirs"], 2, "cannot be an alias"),
        (["x", "theirs", "--set", "stepps=3"], 2, "did you mean `steps`?"),
        (["x", "theirs", "--kind", "lora"], 2, "is a motion-module, not a lora"),
        (["x", "theirs", "--base", "sdxl"], 2, "is pocket, not sdxl"),
        (["x", "theirs", "--requires", "mm-v9"], 3, "unknown model alias"),
        (["x", "theirs", "--kind", "lorra"], 2, "got `lorra`"),
    ],
)
def test_an_invalid_add_is_refused_and_writes_nothing(animdiff, comfy, words, code, message):
    result = animdiff("models", "add", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert not user_catalog_path().exists()


def test_a_model_can_be_added_before_it_is_downloaded(animdiff):
    words = ["--kind", "lora", "--base", "sd15", "--requires", "mm_sd_v15_v2"]
    result = animdiff("models", "add", "ghibli", "civitai:54233@1", *words)
    assert result.exit_code == 0
    missing = animdiff("models", "path", "ghibli")
    assert (missing.exit_code, "run `animdiff fetch ghibli`" in missing.stderr) == (3, True)
    assert re.search(r"Requires\n +mm-v2 +not downloaded", animdiff("models", "show", "ghibli").stdout)


def test_an_unusable_models_folder_is_a_usage_error(animdiff, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_MODELS", "/" + "a" * 400)
    for words in (["list"], ["path", "mm-v3"], ["show", "mm-v3"], ["verify"], ["rm", "mm-v3", "-y"]):
        result = animdiff("models", *words)
        assert result.exit_code == 2, (words, result.exception)
        assert "the name is too long" in result.stderr


def test_list_does_not_import_torch(module):
    code = "import sys; from animdiff_cli.cli import app; app(standalone_mode=False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "models", "list"], capture_output=True, text=True, check=True)
    assert "Ink_Motion" in done.stdout and done.stdout.endswith("False\n")


def test_a_model_that_no_command_can_use_is_marked(animdiff, module, make_unet):
    assert "not usable" not in animdiff("models", "list", "--all").stdout
    save_file(make_unet().state_dict(), module.parent / "alone.safetensors")
    marked = [line for line in animdiff("models", "list").stdout.splitlines() if line.endswith("not usable yet")]
    assert len(marked) == 1 and marked[0].startswith("alone")
