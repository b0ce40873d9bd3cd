"""OS errors become UsageErrors with a reason and a hint."""

import errno
import os
from pathlib import Path

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import REASONS, readable_failures


def test_a_name_that_is_too_long_is_reported(tmp_path):
    path = tmp_path / ("a" * 400)
    with pytest.raises(UsageError, match=r"cannot write `.*`: the name is too long") as refusal:  # noqa: SIM117
        with readable_failures("write", path, hint="choose another"):
            path.write_text("x")
    assert refusal.value.hint == "choose another"


def test_a_specific_hint_precedes_the_general_one_and_a_full_disk_reports_what_is_kept():
    with pytest.raises(UsageError, match=r"no space left on the disk; all is kept$") as refusal:  # noqa: SIM117
        with readable_failures("use", Path("x"), hint="h", hints={errno.ENOSPC: "free some"}, kept="; all is kept"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert refusal.value.hint == "free some"


def test_an_unlisted_error_keeps_the_text_of_the_system():
    assert errno.EIO not in REASONS
    with pytest.raises(UsageError, match="input/output error"):  # noqa: SIM117
        with readable_failures("read", Path("x"), hint="h"):
            raise OSError(errno.EIO, "Input/output error")


def test_other_exceptions_pass_through():
    with pytest.raises(ZeroDivisionError), readable_failures("read", Path("x"), hint="h"):
        _ = 1 / 0
