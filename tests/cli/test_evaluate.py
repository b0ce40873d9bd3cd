"""The `animdiff evaluate` command."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.jobs.clip_files import find_clips
from animdiff_cli.jobs.evaluate import WITHOUT_CLIP
from animdiff_cli.outputs import write_clip
from animdiff_cli.outputs.read import list_images


def moving(num_frames=4, size=64, step=2):
    """Return a texture that moves `step` pixels to the left per frame: `[F, size, size, 3]`."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 60, 3), dtype=np.uint8)
    ground = np.asarray(Image.fromarray(noise).resize((360, 120), Image.Resampling.BICUBIC))
    return np.stack([ground[:size, step * frame : step * frame + size] for frame in range(num_frames)])


def recipe(prompt):
    return {"config": {"prompt": prompt, "fps": 8}}


@pytest.fixture
def clip(here):
    """A clip `fox.gif` with a recipe."""
    return write_clip(moving(), 8, here / "fox.gif", "gif", recipe("a fox"))


def test_the_table_goes_to_stdout_and_messages_to_stderr(animdiff, clip):
    result = animdiff("evaluate", "fox.gif")
    assert result.exit_code == 0
    head, units, row = result.stdout.splitlines()
    assert head.split() == ["clip", "warp", "↓", "dynamic", "·", "flicker", "↓", "seam", "→1", "camera"]
    assert units.split() == ["10⁻³", "%", "side/f", "levels", "steps", "per", "frame"]
    assert row.startswith("fox.gif") and row.endswith("pan right 2.0 px")
    assert result.stderr.splitlines() == [f"note: {WITHOUT_CLIP}", "measuring fox.gif"]


def test_quiet_prints_only_the_table(animdiff, clip):
    assert animdiff("evaluate", "fox.gif", "-q").stderr == ""


def test_json_is_one_object_with_every_metric(animdiff, clip):
    result = animdiff("evaluate", "fox.gif", "--json", "-q")
    record = json.loads(result.stdout)
    assert set(record) == {"clips", "mean", "notes", "report"}
    (measured,) = record["clips"]
    assert {key: measured[key] for key in ("file", "prompt", "num_frames", "width", "height", "fps")} == {
        "file": "fox.gif",
        "prompt": "a fox",
        "num_frames": 4,
        "width": 64,
        "height": 64,
        "fps": pytest.approx(8),
    }
    assert set(measured["measures"]) == {"warp", "dynamic", "change", "flicker", "seam"}
    assert measured["measures"]["dynamic"] == pytest.approx(100 * 2 / 64, rel=0.15)
    assert measured["camera"]["pan_px"] == pytest.approx(2, abs=0.05)
    assert record["mean"] == measured["measures"]
    assert result.stderr == ""


def test_a_folder_is_expanded_to_its_clips_and_a_folder_of_frames_is_one_clip(animdiff, here):
    folder = here / "clips"
    folder.mkdir()
    write_clip(moving(), 8, folder / "b.mp4", "mp4", recipe("b"))
    write_clip(moving(), 8, folder / "a.png", "apng", recipe("a"))
    write_clip(moving(), 8, folder / "frames", "frames", recipe("c"))
    Image.new("RGB", (64, 64)).save(folder / "still.png")
    (folder / "notes.txt").write_text("no clip")
    for words in (["clips"], ["clips", "clips/a.png"], ["clips/a.png", "clips/b.mp4", "clips/frames"]):
        record = json.loads(animdiff("evaluate", *words, "--json").stdout)
        assert [(clip["file"], clip["prompt"]) for clip in record["clips"]] == [
            ("clips/a.png", "a"),
            ("clips/b.mp4", "b"),
            ("clips/frames", "c"),
        ]
        assert [clip["fps"] for clip in record["clips"]] == pytest.approx([8, 8, 8])
    assert animdiff("evaluate", "clips").stdout.splitlines()[-1].startswith("mean")


def test_a_folder_of_images_without_a_recipe_is_a_clip(animdiff, here):
    (here / "shot").mkdir()
    for index, frame in enumerate(moving()):
        Image.fromarray(frame).save(here / "shot" / f"{index}.png")
    (clip,) = json.loads(animdiff("evaluate", "shot", "--json").stdout)["clips"]
    assert (clip["num_frames"], clip["fps"], clip["prompt"]) == (4, None, None)


def test_one_frame_has_no_metrics_and_no_error(animdiff, here):
    write_clip(moving(1), 8, here / "one.gif", "gif", {})
    (clip,) = json.loads(animdiff("evaluate", "one.gif", "--json").stdout)["clips"]
    assert set(clip["measures"].values()) == {None}
    assert clip["camera"] is None
    assert animdiff("evaluate", "one.gif").stdout.splitlines()[-1].split() == ["one.gif", *"–––––"]


def test_a_clip_encoder_adds_text_domain_and_smooth(animdiff, clip, here, toy_clip):
    (here / "stills").mkdir()
    for index, frame in enumerate(moving()):
        Image.fromarray(frame).save(here / "stills" / f"{index}.png")
    words = ["evaluate", "fox.gif", "--clip", toy_clip, "--reference", "stills", "--reference", "fox.gif"]
    result = animdiff(*words)
    assert result.stdout.split()[:7] == ["clip", "text", "↑", "domain", "↑", "smooth", "↑"]
    assert result.stderr.splitlines() == ["loading CLIP encoder toy-clip", "measuring fox.gif"]
    record = json.loads(animdiff(*words, "--json").stdout)
    measures = record["clips"][0]["measures"]
    assert 0 < measures["domain"] <= 100 and 0 < measures["smooth"] <= measures["smooth_neighbours"] <= 100
    other = json.loads(animdiff(*words, "--json", "--prompt", "two hens").stdout)
    assert other["clips"][0]["prompt"] == "two hens"
    assert other["clips"][0]["measures"]["text"] != measures["text"]
    assert other["clips"][0]["measures"]["smooth"] == measures["smooth"]


def test_each_clip_can_have_its_own_prompt(animdiff, clip, here):
    write_clip(moving(), 8, here / "hen.gif", "gif", {})
    record = json.loads(animdiff("evaluate", "fox.gif", "hen.gif", "-p", "one", "-p", "two", "--json").stdout)
    assert [clip["prompt"] for clip in record["clips"]] == ["one", "two"]


def test_a_clip_without_a_prompt_is_reported(animdiff, here, toy_clip):
    write_clip(moving(), 8, here / "hen.gif", "gif", {})
    result = animdiff("evaluate", "hen.gif", "--clip", toy_clip)
    assert "hen.gif has no single prompt in its recipe" in result.stderr
    assert result.stdout.splitlines()[-1].split()[1] == "–"


def test_against_adds_ssim_and_psnr(animdiff, here):
    write_clip(moving(), 8, here / "a.png", "apng", {})
    write_clip(np.minimum(moving(), 250) + np.uint8(5), 8, here / "b.png", "apng", {})
    same = json.loads(animdiff("evaluate", "a.png", "--against", "a.png", "--json").stdout)["clips"][0]["measures"]
    assert (same["ssim"], same["psnr"]) == (pytest.approx(1), None)
    other = json.loads(animdiff("evaluate", "a.png", "--against", "b.png", "--json").stdout)["clips"][0]["measures"]
    assert other["psnr"] == pytest.approx(10 * np.log10(255**2 / 25), abs=0.3)
    assert 0.9 < other["ssim"] < 1


def test_the_report_is_written_and_not_overwritten(animdiff, clip, here):
    result = animdiff("evaluate", "fox.gif", "--report", "out", "--json")
    assert json.loads(result.stdout)["report"] == "out/report.html"
    page = (here / "out" / "report.html").read_text(encoding="utf-8")
    again = animdiff("evaluate", "fox.gif", "--report", "out/report.html")
    assert again.exit_code == 2 and "--overwrite" in again.stderr
    assert animdiff("evaluate", "fox.gif", "--report", "out", "--overwrite").exit_code == 0
    assert (here / "out" / "report.html").read_text(encoding="utf-8") == page
    assert [path.name for path in (here / "out").iterdir()] == ["report.html"]


def test_metrics_without_opencv_are_still_computed(animdiff, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = animdiff("evaluate", "fox.gif")
    assert result.exit_code == 0
    assert "OpenCV" in result.stderr and "pip install 'animdiff[eval]'" in result.stderr
    assert result.stdout.split()[:5] == ["clip", "flicker", "↓", "seam", "→1"]


def test_torch_is_imported_only_for_clip(clip, here):
    """Importing torch takes seconds, which the other metrics do not need."""
    code = "import sys; from animdiff_cli.cli import main; sys.argv = ['animdiff', 'evaluate', 'fox.gif', '-q']\n"
    code += "try:\n    main()\nexcept SystemExit:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "evaluate --help"),
        (["no.gif"], 3, "check the path"),
        (["notes.txt"], 2, "give a gif, mp4"),
        (["empty"], 2, "contains no clips"),
        (["broken.gif"], 2, "damaged"),
        (["fox.gif", "--against", "no.gif"], 3, "check the path"),
        (["fox.gif", "--against", "short.gif"], 2, "fox.gif: cannot compare clips of 4 frames"),
        (["fox.gif", "--reference", "fox.gif"], 2, "--clip clip-vit-l14"),
        (["fox.gif", "--clip", "clip-vit-l14"], 3, "animdiff fetch clip-vit-l14"),
        (["fox.gif", "--clip", "pocket"], 2, "--model pocket"),
        (["fox.gif", "--clip", "./no"], 3, "check the path"),
        (["fox.gif", "--clip", "./empty"], 2, "clip-vit-l14"),
        (["fox.gif", "-p", "a", "-p", "b"], 2, "one per clip"),
        (["fox.gif", "--report", "notes.txt/x.html"], 2, "--report"),
    ],
)
def test_user_errors_have_exit_codes_and_hints(animdiff, clip, here, files, words, code, said):
    (here / "empty").mkdir()
    (here / "notes.txt").write_text("no clip")
    (here / "broken.gif").write_bytes(clip.read_bytes()[:60])
    write_clip(moving(3), 8, here / "short.gif", "gif", {})
    before = files()
    result = animdiff("evaluate", *words)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr and "hint: " in result.stderr
    assert files() == before


def test_missing_reference_images_are_reported(animdiff, clip, toy_clip, here):
    result = animdiff("evaluate", "fox.gif", "--clip", toy_clip, "--reference", "no")
    assert (result.exit_code, "--reference" in result.stderr) == (3, True)
    (here / "empty").mkdir()
    assert animdiff("evaluate", "fox.gif", "--clip", toy_clip, "--reference", "empty").exit_code == 2


def test_an_unavailable_device_is_refused(animdiff, clip, toy_clip):
    assert animdiff("evaluate", "fox.gif", "--clip", toy_clip, "--device", "cuda:99").exit_code == 6


def test_clips_are_listed_with_numbers_in_order_of_value(here):
    for number in (10, 9, 1):
        write_clip(moving(2), 8, here / f"clip{number}.gif", "gif", {})
    assert [path.name for path in find_clips([here])] == ["clip1.gif", "clip9.gif", "clip10.gif"]
    for name in ("frames/10.png", "frames/2.png"):
        (here / "frames").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(here / name)
    assert [path.name for path in list_images(here / "frames")] == ["2.png", "10.png"]


def test_a_clip_whose_name_is_not_utf8_is_reported(animdiff, here):
    write_clip(moving(), 8, here / "caf\udce9.gif", "gif", recipe("a fox"))
    assert animdiff("evaluate", "caf\udce9.gif", "--report", "r.html", "-q").exit_code == 0
    assert "caf\\xe9.gif" in (here / "r.html").read_text(encoding="utf-8")
