"""The commands of the guide to batches print what the page shows."""

import re
from pathlib import Path

import pytest

from tools.docs.batch_guide import GUIDE, commands, lasting, run, write_files

PAGE = GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "recorded"), list(commands(PAGE)), ids=lambda text: text[:60] if "batch" in text else ""
)
def test_a_command_prints_what_the_page_shows(tmp_path, monkeypatch, command, recorded):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANIMDIFF_DEVICE", "cpu")
    write_files(PAGE, tmp_path)
    if "--dry-run" not in command and "wrong" not in command:
        shown = set(re.findall(r"^night/.*\.gif$", recorded, re.MULTILINE))
        assert shown == set(run(f"{command} --dry-run -q").splitlines())  # rendering takes minutes
        return
    assert lasting(run(command)) == lasting(recorded)
    assert not [path for path in Path().iterdir() if path.is_dir()]  # nothing is rendered


def test_the_page_has_the_files_that_its_commands_read(tmp_path):
    write_files(PAGE, tmp_path)
    named = {word for command, _ in commands(PAGE) for word in re.findall(r"[\w]+\.(?:yaml|csv|jsonl|txt)", command)}
    assert named == {path.name for path in tmp_path.iterdir()} and len(named) == 6
