"""Large data sets: WebVid's CSV, lists of any kind, and WebDataset shards."""

import io
import json
import tarfile

import pytest
import webdataset

from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.training.data.dataset import scan
from animdiff_cli.training.data.find import find
from animdiff_cli.training.data.shards import expand


@pytest.fixture
def video(counting, write_video, tmp_path):
    """Return the bytes of a video whose first frame has number `start`."""
    return lambda start=0: write_video(counting(40, start=start), tmp_path / f"raw-{start}.mp4").read_bytes()


@pytest.mark.parametrize("layout", ["{videoid}.mp4", "{page_dir}/{videoid}.mp4"])
def test_webvid_rows_name_their_videos(layout, video, config, count, tmp_path):
    table = tmp_path / "results.csv"
    table.write_text(
        'videoid,contentUrl,duration,page_dir,name\n7,x,PT1S,001_050,"A fox, running"\n8,x,PT1S,001_050,Gone\n'
    )
    place = tmp_path / "media" / layout.format(videoid=7, page_dir="001_050")
    place.parent.mkdir(parents=True)
    place.write_bytes(video())
    data = scan(config(videos=table, video_folder=tmp_path / "media"))
    assert [data.caption(index) for index in range(len(data))] == ["A fox, running"]
    assert data.skipped == (("8.mp4", "no such file"),)
    taken = count(data.frames(0, 0))
    assert taken == list(range(taken[0], taken[0] + 32, 4))


def test_a_list_beside_its_videos_needs_no_video_folder(video, config, tmp_path):
    (tmp_path / "a b.mp4").write_bytes(video())
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "a b.mp4", "prompt": "a fox"}))
    assert [media.caption for media in find(config(videos=tmp_path / "list.jsonl")).media] == ["a fox"]


def test_a_list_without_a_file_column_is_refused(config, tmp_path):
    (tmp_path / "list.csv").write_text("clip,caption\na.mp4,a fox\n")
    with pytest.raises(UsageError, match="names no file") as refusal:
        find(config(videos=tmp_path / "list.csv"))
    assert "file_name" in refusal.value.hint


def test_video_folder_must_exist_and_needs_a_list(config, tmp_path):
    (tmp_path / "list.csv").write_text("file_name\na.mp4\n")
    with pytest.raises(NotFound):
        find(config(videos=tmp_path / "list.csv", video_folder=tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="needs a list"):
        find(config(videos=tmp_path, video_folder=tmp_path))


def test_shards_of_the_webdataset_library_are_read_without_unpacking(video, config, count, tmp_path):
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"clips-{shard:04}.tar")) as sink:
            for sample in range(2):
                number = 2 * shard + sample
                caption = {"txt": f"clip {number}"} if sample else {"json": {"caption": f"clip {number}", "width": 96}}
                sink.write({"__key__": f"{number:06}", "mp4": video(50 * number), **caption})
    data = scan(config(videos=tmp_path / "clips-{0000..0001}.tar"))
    assert [(item.name, item.caption) for item in data.items] == [
        ("clips-0000.tar/000000.mp4", "clip 0"),
        ("clips-0000.tar/000001.mp4", "clip 1"),
        ("clips-0001.tar/000002.mp4", "clip 2"),
        ("clips-0001.tar/000003.mp4", "clip 3"),
    ]
    for index in range(4):
        taken = count(data.frames(index, 0))
        assert taken == list(range(taken[0], taken[0] + 32, 4))
        assert 50 * index <= taken[0] < 50 * index + 12


def test_a_video_has_the_same_key_inside_and_outside_an_archive(video, config, tmp_path):
    raw = video()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(raw)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("a.mp4")
        member.size = len(raw)
        tar.addfile(member, io.BytesIO(raw))
    inside, outside = scan(config(videos=tmp_path / "a.tar")), scan(config())
    assert inside.items[0].key == outside.items[0].key
    assert (inside.frames(0, 3) == outside.frames(0, 3)).all()


def test_a_missing_shard_is_named(config, tmp_path):
    tarfile.open(tmp_path / "a-0.tar", "w").close()
    with pytest.raises(NotFound, match=r"a-1\.tar"):
        find(config(videos=tmp_path / "a-{0..1}.tar"))


@pytest.mark.parametrize("mode", ["w:gz", None])
def test_a_compressed_or_invalid_archive_is_refused(mode, config, tmp_path):
    if mode:
        with tarfile.open(tmp_path / "a.tar", mode) as tar:
            tar.addfile(tarfile.TarInfo("a.mp4"))
    else:
        (tmp_path / "a.tar").write_text("no archive")
    with pytest.raises(UsageError, match="not an uncompressed tar archive"):
        find(config(videos=tmp_path / "a.tar"))


def test_shard_patterns_expand_and_keep_leading_zeros():
    assert expand("a.tar") == ["a.tar"]
    assert expand("{9..11}.tar") == ["9.tar", "10.tar", "11.tar"]
    assert expand("{0..1}/{00..01}.tar") == ["0/00.tar", "0/01.tar", "1/00.tar", "1/01.tar"]
    with pytest.raises(UsageError, match="not a shard pattern"):
        expand("a-{0,1}.tar")
    for endless in ("{0..9999999}.tar", "{0..999}{0..999}.tar", "{0..99999999999999999999}.tar"):
        with pytest.raises(UsageError):
            expand(endless)


@pytest.mark.parametrize(
    "text",
    [
        "file_name, caption\na.mp4, a fox\n",
        'file_name , caption\na.mp4, "a fox"\n\n',
        "\ufefffile_name,caption\na.mp4,a fox",
    ],
)
def test_spaces_around_values_of_a_csv_are_ignored(text, config, tmp_path):
    (tmp_path / "a.mp4").touch()
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "list.csv").write_text(
            text.removeprefix("\ufeff") if encoding == "utf-16" else text, encoding=encoding
        )
        assert [media.caption for media in find(config(videos=tmp_path / "list.csv")).media] == ["a fox"]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_control_characters_in_a_list_are_spaces(name, config, tmp_path):
    (tmp_path / "a.mp4").touch()
    rows = {"list.csv": "file_name,caption\na.mp4,a\x1bfox", "list.jsonl": '{"file": "a.mp4", "text": "a\\u001bfox"}'}
    (tmp_path / name).write_text(rows[name])
    assert [media.caption for media in find(config(videos=tmp_path / name)).media] == ["a fox"]


def test_a_caption_with_an_unquoted_comma_is_refused(config, tmp_path):
    (tmp_path / "list.csv").write_text("file_name,caption\na.mp4,a fox, running in the snow\n")
    with pytest.raises(UsageError, match="line 2: 3 values for 2 columns") as refusal:
        find(config(videos=tmp_path / "list.csv"))
    assert "quote captions" in refusal.value.hint


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("l.csv", "file_name,caption\na.mp4,Füchse\n".encode("cp1252")),
        ("l.jsonl", b'{"file_name": "a.mp4", "n": ' + b"[" * 100_000),
        ("l.jsonl", b'{"file_name": "a.mp4", "n": ' + b"9" * 5000 + b"}"),
        ("l.jsonl", b'{"file_name": "' + b"a" * (1 << 20) + b'"}'),
        ("l.csv", b"file_name,caption\n" + b"a" * 200_000),
    ],
)
def test_a_hostile_list_is_refused_with_one_sentence(name, raw, config, tmp_path):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UsageError, match=name):
        find(config(videos=tmp_path / name))


def test_names_that_no_file_can_have_are_missing(config, tmp_path):
    names = ["a" * 300 + ".mp4", "a\0.mp4", "\udce9.mp4"]
    (tmp_path / "l.jsonl").write_text(
        "\n".join(json.dumps({"file_name": name, "caption": "\ud800 x"}) for name in names)
    )
    assert [reason for _, reason in find(config(videos=tmp_path / "l.jsonl")).skipped] == ["no such file"] * 3


def test_a_member_that_is_larger_than_its_archive_is_refused(config, tmp_path):
    member = tarfile.TarInfo("a.mp4")
    member.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(AnimdiffError):
        scan(config(videos=tmp_path / "a.tar"))
