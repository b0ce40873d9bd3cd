"""OS errors become UsageErrors with a reason and a hint."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from animdiff_cli import paths
from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import (
    REASONS,
    check_output_path,
    readable_failures,
    readable_output_failures,
    temporary_folder,
    unexpected_failure,
)


def test_a_name_that_is_too_long_is_reported(tmp_path):
    path = tmp_path / ("a" * 400)
    with pytest.raises(UsageError, match=r"cannot write `.*`: the name is too long") as refusal:  # noqa: SIM117
        with readable_failures("write", path, hint="choose another"):
            path.write_text("x")
    assert refusal.value.hint == "choose another"


def test_a_specific_hint_precedes_the_general_one_and_a_full_disk_reports_what_is_kept():
    with pytest.raises(UsageError, match=r"no space left on the disk mounted at `.+`; all is kept$") as refusal:  # noqa: SIM117
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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("variable", ["ANIMDIFF_CACHE", "ANIMDIFF_MODELS", "ANIMDIFF_CONFIG"])
def test_a_full_disk_is_named_with_the_variable_that_moves_the_folder(tmp_path, monkeypatch, code, variable):
    monkeypatch.setenv(variable, str(tmp_path / "small"))
    with pytest.raises(UsageError, match="on the disk mounted at `") as refusal:  # noqa: SIM117
        with readable_output_failures(tmp_path / "small" / "training" / "x", "-o"):
            raise OSError(code, os.strerror(code))
    assert refusal.value.hint == f"free some space, or choose another disk: `export {variable}=…`"


def test_a_full_disk_of_outputs_names_the_flag_and_the_variable(tmp_path):
    with pytest.raises(UsageError) as refusal, readable_output_failures(tmp_path / "x.gif"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert refusal.value.hint == (
        "free some space, or choose another disk with `--output` or `export ANIMDIFF_OUTPUT=…`"
    )


def test_a_temporary_folder_that_cannot_be_written_names_tmpdir(tmp_path, monkeypatch):
    with temporary_folder({"a": b"1"}) as folder:
        assert (folder / "a").read_bytes() == b"1"
    assert not folder.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(UsageError) as refusal, temporary_folder({}):
        pass
    assert refusal.value.hint == "choose another folder: `export TMPDIR=…`"
    with pytest.raises(UsageError) as refusal, readable_output_failures(tmp_path / "missing" / "animdiff-x" / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert refusal.value.hint == "free some space, or choose another disk: `export TMPDIR=…`"


@pytest.mark.parametrize("name", ["a" * 256, "new/" + "a" * 256, "é" * 200 + "/x", "/".join(["new"] * 2000)])
def test_an_output_with_a_name_that_is_too_long_is_refused_before_it_is_made(tmp_path, name):
    with pytest.raises(UsageError, match="the name is too long"):
        check_output_path(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_output_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UsageError, match="is a file, not a folder"):
        check_output_path(tmp_path / "a" / "b.gif")
    check_output_path(tmp_path / "new" / "b.gif")


def test_the_home_of_an_unknown_user_is_no_folder_for_outputs():
    with pytest.raises(UsageError, match="`~nosuchuser`: there is no such user"):
        paths.expanded_output("~nosuchuser/x.gif")
    assert paths.expanded_output("./~nosuchuser/x.gif") == Path("~nosuchuser/x.gif")


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (FileNotFoundError(errno.ENOENT, "gone", "a.gif"), 3),
        (PermissionError(errno.EACCES, "no", b"a.gif"), 2),
        (OSError(errno.ENAMETOOLONG, "long", Path("a.gif")), 2),
        (OSError(errno.ENOSPC, "full"), 2),
    ],
)
def test_an_os_error_that_nothing_expected_names_its_file(error, exit_code):
    failure = unexpected_failure(error)
    assert failure.exit_code == exit_code
    assert failure.hint
    assert not error.filename or "`a.gif`" in str(failure)


def test_an_os_error_without_a_known_reason_is_a_bug():
    assert unexpected_failure(OSError(errno.EBADF, "bad descriptor")) is None
