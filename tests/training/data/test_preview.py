"""A preview shows exactly the training clips, and its folder is created atomically."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from animdiff_cli.errors import UsageError
from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.ffmpeg import DecodeError
from animdiff_cli.training.data.dataset import scan
from animdiff_cli.training.data.preview import preview


@pytest.fixture
def data(tmp_path, config, counting, write_video):
    (tmp_path / "videos").mkdir()
    for name, start in [("a fox.mp4", 0), ("лиса.mkv", 80)]:
        write_video(counting(40, start=start), tmp_path / "videos" / name)
    (tmp_path / "videos" / "a fox.txt").write_text("a fox, лиса ☃")
    return scan(config())


def test_gifs_contain_the_training_clips(data, tmp_path, count):
    sheet, *gifs = preview(data, tmp_path / "preview", 3)
    assert sheet == tmp_path / "preview" / "sheet.png"
    assert [gif.name for gif in gifs] == ["01-a-fox.gif", "02-лиса.gif", "03-a-fox.gif"]
    for gif, (index, variant) in zip(gifs, [(0, 0), (1, 0), (0, 1)], strict=True):
        with Image.open(gif) as picture:
            frames = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)])
        assert count(frames) == count(data.frames(index, variant))
        clip = read_recipe(gif)["training_clip"]
        assert (clip["key"], clip["draw"]) == (data.items[index].key, variant)


def test_the_sheet_shows_first_and_last_frame_of_every_clip(data, tmp_path, count):
    sheet, *_ = preview(data, tmp_path / "preview", 2)
    pixels = np.asarray(Image.open(sheet).convert("RGB"))
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 8
    for index in range(2):
        row = pixels[index * height + 16 : (index + 1) * height]
        shown = np.stack([row[:, column * width : (column + 1) * width] for column in range(8)])
        assert count(shown) == count(data.frames(index, 0))


def test_an_existing_folder_is_kept(data, tmp_path):
    (tmp_path / "preview").mkdir()
    (tmp_path / "preview" / "file.txt").touch()
    assert preview(data, tmp_path / "preview", 1)[0] == tmp_path / "preview-2" / "sheet.png"
    assert [path.name for path in (tmp_path / "preview").iterdir()] == ["file.txt"]


def test_a_failed_preview_leaves_no_files(data, tmp_path):
    (tmp_path / "videos" / "лиса.mkv").unlink()
    with pytest.raises(DecodeError):
        preview(data, tmp_path / "out" / "preview", 2)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unwritable_folder_is_refused(data, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        preview(data, tmp_path / "file" / "preview", 1)
    with pytest.raises(UsageError, match="cannot preview 0 clips"):
        preview(data, tmp_path / "preview", 0)
