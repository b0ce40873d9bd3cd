"""`--skip-existing`: clips of an earlier call are not rendered again."""

import pytest


@pytest.fixture
def night(animdiff, toy):
    """Render a fox with some seeds into a folder, skipping what exists."""

    def render(*words, seeds=(1, 2), prompt="a fox"):
        given = [word for seed in seeds for word in ("--seed", seed)]
        return animdiff(*toy, "--prompt", prompt, *given, "-o", "{seed}.gif", "--skip-existing", *words)

    return render


def test_only_what_is_missing_is_rendered(night, files, here, records):
    assert night(seeds=[1]).stdout == "1.gif\n"
    before = (here / "1.gif").stat().st_mtime_ns
    again = night()
    assert (again.exit_code, again.stdout) == (0, "1.gif\n2.gif\n")
    assert "exist already: 1 of 2 clips" in again.stderr
    assert (here / "1.gif").stat().st_mtime_ns == before
    nothing = night("--json")
    assert [(skipped["job"], skipped["outputs"]) for skipped in records(nothing, "skipped")] == [
        ("1", {"gif": "1.gif"}),
        ("2", {"gif": "2.gif"}),
    ]
    assert len(records(nothing)) == 2
    assert "loading" not in nothing.stderr
    assert files() == ["1.gif", "2.gif"]


def test_other_settings_are_another_clip_found_under_its_number(night, files):
    night(seeds=[1])
    for _ in range(2):
        assert night("--steps", 1, seeds=[1]).stdout == "1-2.gif\n"
    assert files() == ["1-2.gif", "1.gif"]


def test_a_missing_format_is_added(night, files):
    night(seeds=[1])
    result = night("-f", "gif", "-f", "webp", seeds=[1])
    assert result.stdout == "1.gif\n1.webp\n"
    assert "exist already: 0 of 1 clip, and some formats of 1 clip\n" in result.stderr
    assert files() == ["1.gif", "1.webp"]


def test_a_damaged_or_foreign_file_is_not_a_clip(night, files, here):
    (here / "1.gif").write_bytes(b"GIF89a")
    assert night(seeds=[1]).stdout == "1-2.gif\n"


@pytest.mark.parametrize("words", [["--seed", 1, "-o", "{time}.gif"], []], ids=["time", "random seed"])
def test_names_and_seeds_that_never_come_again_are_refused(animdiff, toy, words, files):
    result = animdiff(*toy, "--prompt", "a fox", "--skip-existing", *words)
    assert result.exit_code == 2 and "--skip-existing" in result.stderr
    assert files() == []


def test_a_clip_that_goes_on_from_another_one_is_rendered_again_if_that_changed(animdiff, toy, files):
    def before(seed):
        assert animdiff(*toy, "--prompt", "a fox", "--seed", seed, "-o", "a.gif", "--overwrite").exit_code == 0

    def after():
        words = ["--prompt", "a fox", "--seed", 3, "--continue-from", "a.gif", "-o", "b.gif", "--skip-existing"]
        return animdiff(*toy, *words).stdout

    before(1)
    assert (after(), after()) == ("b.gif\n", "b.gif\n")
    before(2)
    assert after() == "b-2.gif\n"
    assert files() == ["a.gif", "b-2.gif", "b.gif"]
