"""The reference pages and the keyword arguments are those of the program."""

import re
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.environment import PREFIX, VARIABLES
from tools.docs import GENERATED, stale

#: variables that `accelerate launch` sets for its processes
LAUNCHER = ("ACCELERATE_", "FSDP_")


def test_generated_files_are_up_to_date():
    assert len(GENERATED) == 6
    assert stale() == [], "run `python -m tools.docs`"


def test_every_variable_that_the_program_reads_is_listed():
    code = "".join(path.read_text() for path in paths.PACKAGE.rglob("*.py"))
    read = set(re.findall(r'(?:environ\w*(?:\.get)?[\[(]|environ, |env\(|envvar=)"([A-Z][A-Z_]+)"', code))
    read |= set(re.findall(rf'"({PREFIX}[A-Z_]+)"', code))
    assert {"ANIMDIFF_MODELS", "ANIMDIFF_DEVICE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TERM"} <= read
    assert sorted(name for name in read - VARIABLES.keys() if not name.startswith(LAUNCHER)) == []


def test_every_listed_variable_of_the_program_is_read():
    code = "".join(path.read_text() for path in Path(paths.PACKAGE).rglob("*.py") if path.stem != "environment")
    assert [name for name in VARIABLES if name.startswith((PREFIX, "CIVITAI_", "HF_")) and name not in code] == []
