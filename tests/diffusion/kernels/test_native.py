"""Compiling and loading the library of C++."""

import _ctypes
import stat
from pathlib import Path

import pytest

from animdiff_cli.diffusion.kernels import native


@pytest.fixture(autouse=True)
def failures(monkeypatch):
    monkeypatch.setattr(native, "failures", [])


@pytest.mark.skipif(native.which(native.COMPILER) is None, reason="needs g++")
def test_what_cannot_be_compiled_is_left_to_torch(monkeypatch, tmp_path):
    """Nothing half-written stays behind."""
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "SOURCES", (tmp_path / "broken.cpp",))
    native.SOURCES[0].write_text("not C++", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(native, "COMPILER", "no-such-compiler")
        assert native.library.__wrapped__() is None and not native.failures
    assert native.library.__wrapped__() is None
    assert len(native.failures) == 1 and "broken.cpp:1" in native.failures[0] and "error" in native.failures[0]
    assert not [path for path in tmp_path.rglob("*") if ".so" in path.name]


@pytest.fixture
def keep_library(monkeypatch, tmp_path):
    """Return a function that puts a library of this content where a compiled one is kept."""
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "instruction_set", lambda: "AVX2")
    monkeypatch.setattr(native.sys, "platform", "linux")
    monkeypatch.setattr(native, "COMPILER", "no-such-compiler")
    (tmp_path / "kernels").mkdir()

    def keep(content):
        path = tmp_path / "kernels" / f"{native._prefix()}{native._short_hash(content)}.so"
        path.write_bytes(content)
        return path

    return keep


def test_a_library_that_was_cut_off_is_not_loaded(keep_library):
    """It would end the process with a bus error."""
    path = keep_library(b"whole")
    assert native._find(path.parent) == path
    path.write_bytes(b"who")
    assert native._find(path.parent) is None
    assert native.library.__wrapped__() is None
    assert native.obstacle() == "no-such-compiler is not installed"


def test_a_library_that_cannot_be_loaded_is_left_to_torch(keep_library):
    path = keep_library(b"no library")
    assert native.library.__wrapped__() is None
    assert str(path) in native.obstacle()


def test_a_library_without_the_function_is_left_to_torch(keep_library):
    keep_library(Path(_ctypes.__file__).read_bytes())
    assert native.library.__wrapped__() is None
    assert "attention" in native.obstacle()


@pytest.mark.skipif(not native.is_supported(), reason="needs Linux and AVX2")
def test_a_cache_that_is_a_file_is_named_before_and_after_compiling(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(native, "COMPILER", "sh")
    assert native.obstacle() == f"`{tmp_path / 'file'}` is a file, not a folder"
    assert native.library.__wrapped__() is None
    assert native.failures == [
        f"cannot use `{tmp_path / 'file' / 'kernels'}`: part of the path is a file, not a folder"
    ]


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("a.cpp: In function:\na.cpp:1: error: no\ncompilation failed", "a.cpp:1: error: no"),
        (
            "ld: final link failed: No space left\ncollect2: error: ld returned 1",
            "ld: final link failed: No space left",
        ),
        ("Killed", "Killed"),
        ("", "g++ failed"),
    ],
)
def test_the_line_of_a_compiler_that_says_why_is_shown(printed, reason):
    assert native._reason(native.subprocess.CalledProcessError(1, "g++", stderr=printed.encode())) == reason


@pytest.mark.parametrize(("platform", "instructions"), [("linux", "DEFAULT"), ("darwin", "AVX2"), ("win32", "AVX512")])
def test_no_compiler_is_needed_where_there_is_no_code(monkeypatch, platform, instructions):
    monkeypatch.setattr(native.sys, "platform", platform)
    monkeypatch.setattr(native, "instruction_set", lambda: instructions)
    assert native.library.__wrapped__() is None and native.obstacle() == native.NOT_SUPPORTED


@pytest.mark.skipif(not native.is_supported(), reason="needs Linux and AVX2")
def test_a_compiler_that_hangs_is_not_waited_for(monkeypatch, tmp_path):
    compiler = tmp_path / "slow-compiler"
    compiler.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "COMPILER", str(compiler))
    monkeypatch.setattr(native, "TIMEOUT", 0.1)
    assert native.library.__wrapped__() is None
    assert native.failures == [f"{compiler} took longer than 0.1 seconds"]


@pytest.mark.parametrize(("instructions", "name"), [("AVX512", "avx512"), ("AVX2", "avx2"), ("DEFAULT", "torch")])
def test_arithmetic_is_named(monkeypatch, instructions, name):
    monkeypatch.setattr(native, "instruction_set", lambda: instructions)
    monkeypatch.setattr(native, "library", lambda: None if name == "torch" else object())
    assert native.arithmetic() == name
