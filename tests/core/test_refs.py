"""References parse unambiguously and round-trip through `str`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.refs import ModelRef, constant_scale, parse_ref, path_hint, split_refs, split_scale
from animdiff_cli.errors import UsageError

PART = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True).filter(lambda part: ".." not in part)
SCALES = st.floats(allow_nan=False, allow_infinity=False)
SPELLINGS = st.one_of(
    PART,
    st.builds("hf:{}/{}".format, PART, PART),
    st.builds("hf:{}/{}/{}@{}".format, PART, PART, PART, PART),
    st.builds("civitai:{}@{}".format, st.integers(0, 10**9), st.integers(0, 10**9)),
    st.builds("https://{}/{}".format, PART, PART),
    st.builds("./{}".format, PART),
    st.builds("C:\\{}".format, PART),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("toonyou", ModelRef("alias", "toonyou")),
        ("ToonYou", ModelRef("alias", "toonyou")),
        ("long-64-v1.1", ModelRef("alias", "long-64-v1.1")),
        ("hf:org/repo", ModelRef("hf", "org/repo")),
        ("hf:org/repo/a/b.ckpt@v2", ModelRef("hf", "org/repo", "a/b.ckpt", "v2")),
        ("civitai:30240@78775", ModelRef("civitai", "30240", None, "78775")),
        ("https://host/x.safetensors", ModelRef("url", "https://host/x.safetensors")),
        ("models/toonyou", ModelRef("path", "models/toonyou")),
        ("./toonyou", ModelRef("path", "./toonyou")),
        ("~/toonyou", ModelRef("path", "~/toonyou")),
        ("mm.CKPT", ModelRef("path", "mm.CKPT")),
        (r"D:\weights\mm", ModelRef("path", r"D:\weights\mm")),
        ("C:mm.ckpt", ModelRef("path", "C:mm.ckpt")),
        ("/données/modèle v2", ModelRef("path", "/données/modèle v2")),
        ("./絵\u3000画\u00a0👩\u200d🎨.pt", ModelRef("path", "./絵\u3000画\u00a0👩\u200d🎨.pt")),
        ("./caf\udce9.pt", ModelRef("path", "./caf\udce9.pt")),  # a file name that is not UTF-8
    ],
)
def test_each_syntax_parses_to_its_reference(text, expected):
    assert parse_ref(text) == expected


@pytest.mark.parametrize(
    ("text", "target", "revision", "scale"),
    [
        ("zoom-in@0.8", "zoom-in", None, 0.8),
        ("zoom-in", "zoom-in", None, None),
        ("loras/zoom@-1", "loras/zoom", None, -1.0),
        ("loras/zoom@2.safetensors", "loras/zoom@2.safetensors", None, None),
        ("hf:org/repo/f.ckpt@main@.5", "org/repo", "main", 0.5),
        ("hf:org/repo/f.ckpt@1.5", "org/repo", None, 1.5),
        ("civitai:30240@78775", "30240", "78775", None),
        ("civitai:30240@78775@0.6", "30240", "78775", 0.6),
    ],
)
def test_the_last_number_is_the_scale(text, target, revision, scale):
    ref = parse_ref(text, scaled=True)
    assert (ref.target, ref.revision, ref.scale) == (target, revision, scale)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "alias"),
        (" toonyou", "alias"),
        ("zoom-in@0.8", "remove the scale, which is not supported here: type `zoom-in`"),
        ("pocket@0:0,50%:1", "type `pocket`"),
        ("two words", "alias"),
        ("./a\x1b[2J.pt", "alias"),
        ("./a\x9b2J.pt", "alias"),
        ("civitai:30240", "version ID"),
        ("civitai:toonyou@3", "version ID"),
        ("hf:repo", "hf:org/repo"),
        ("hf:org/repo/../../etc/x", "hf:org/repo"),
        ("hf:org/repo//x", "hf:org/repo"),
        ("ftp://host/x.ckpt", "https:"),
        ("mystyle:0.7", "`mystyle@0.7`"),
        ("my_style:1", "`my_style@1`"),
        ("mystyle.safetensors:-.5", "`mystyle.safetensors@-.5`"),
        ("mystyle:0.7:0.3", "`mystyle@0.7`"),
        ("hf:org/repo/f.safetensors:0.7", "`hf:org/repo/f.safetensors@0.7`"),
        ("https:/host", "complete URL"),
        ("https://[::1/x.ckpt", "complete URL"),
        ("https://host:99999/x.ckpt", "complete URL"),
        ("https://host:port/x.ckpt", "complete URL"),
        ("https://me:secret@host/x.ckpt", "password"),
        ("huggingface:org/repo", "./huggingface:org/repo"),
    ],
)
def test_an_invalid_reference_is_refused_with_a_hint(text, hint):
    with pytest.raises(UsageError) as refusal:
        parse_ref(text)
    assert hint in (refusal.value.hint or "")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://me:SECRET@host/x.ckpt", "user name and password"),
        ("https://SECRET@host/x.ckpt", "user name and password"),
        ("ftp://me:SECRET@host/x.ckpt", "user name and password"),
        (" https://me:SECRET@host/x.ckpt", "user name and password"),
        ("https://civitai.com/api/download/models/1?type=Model&token=SECRET", "export CIVITAI_TOKEN"),
        ("https://huggingface.co/o/r/resolve/main/f.ckpt?token=SECRET", "export HF_TOKEN"),
        ("https://host/x.ckpt?X-Amz-Expires=60&X-Amz-Signature=SECRET", "`curl`"),
        ("https://host/x.ckpt?a=1;API_KEY=SECRET", "`curl`"),
        ("https://host/x.ckpt?to%6ben=SECRET", "`curl`"),
        ("https://host/x.ckpt#access_token=SECRET", "`curl`"),
        ("https://host/x.ckpt?se=2026&sig=SECRET", "`curl`"),
        ("https://host/x.ckpt?key=SECRET", "`curl`"),
        ("https://host/x.ckpt?Password=SECRET\n", "`curl`"),
        ("civitai.com/api/download/models/1?token=SECRET", "export CIVITAI_TOKEN"),
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url, hint):
    with pytest.raises(UsageError, match="contains credentials") as refusal:
        parse_ref(url, scaled=True)
    assert "SECRET" not in f"{refusal.value} {refusal.value.hint}"
    assert hint in (refusal.value.hint or "")


@pytest.mark.parametrize(
    "url",
    [
        "https://host/x@2.ckpt",
        "https://civitai.com/models/1?modelVersionId=2",
        "https://host/f?keyword=a&tokenizer",
        "https://host/f?download=true&type=Model&format=SafeTensor&size=full&fp=fp16&id=3&token=",
        "http://localhost:8000/x.ckpt",
    ],
)
def test_a_url_without_credentials_is_kept(url):
    assert str(parse_ref(url)) == url


def test_an_infinite_scale_is_refused():
    with pytest.raises(UsageError, match="too large"):
        parse_ref("zoom-in@1e999", scaled=True)


@pytest.mark.parametrize(
    ("scale", "what"),
    [("nan", "`nan` is not a scale"), ("0.8x", "`0.8x` is not a scale"), ("", "no scale follows the `@`")],
)
def test_a_word_after_an_alias_is_a_wrong_scale(scale, what):
    with pytest.raises(UsageError, match=what) as refusal:
        parse_ref(f"zoom-in@{scale}", scaled=True)
    assert "`zoom-in@0.8`" in (refusal.value.hint or "")


@pytest.mark.parametrize("word", ["nan", "0.8.", "1,5", "50%", "strong"])
def test_a_word_after_a_file_is_a_wrong_scale_or_position(word):
    for read in (lambda text: parse_ref(text, scaled=True), split_scale):
        with pytest.raises(UsageError, match=f"`{word}` is not a scale") as refusal:
            read(f"./styles/ink.safetensors@{word}")
        assert "`./styles/ink.safetensors@0.8`" in refusal.value.hint


@pytest.mark.parametrize("path", ["me@home.png", "img@2x.png", "me@home.org/fox.png", "night@sea"])
def test_an_at_sign_in_a_path_is_kept(path):
    assert split_scale(path) == (path, None)


@given(SPELLINGS)
def test_an_unscaled_reference_round_trips(text):
    ref = parse_ref(text)
    assert parse_ref(str(ref)) == ref


@given(SPELLINGS, SCALES)
def test_a_scaled_reference_round_trips(text, scale):
    ref = parse_ref(f"{text}@{scale!r}", scaled=True)
    assert ref.scale == scale
    assert parse_ref(str(ref), scaled=True) == ref


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_a_usage_error(text):
    try:
        ref = parse_ref(text, scaled=True)
    except UsageError as refusal:
        assert refusal.hint
    else:
        assert parse_ref(str(ref), scaled=True) == ref


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("guoyww/animatediff", "`hf:guoyww/animatediff`"),
        ("guoyww/animatediff/v3_sd15_mm.ckpt", "`hf:guoyww/animatediff/v3_sd15_mm.ckpt`"),
        ("org/repo@fp16", "`hf:org/repo@fp16`"),
        ("huggingface.co/org/repo", "`https://huggingface.co/org/repo`"),
        ("civitai.com/models/1?modelVersionId=2", "`https://civitai.com/models/1?modelVersionId=2`"),
        ("org/repo:0.7", "`org/repo@0.7`"),
        ("./vae.safetensors@0:0,50%:1", "type `./vae.safetensors`"),
        ("./style.safetensors:0.7", "`./style.safetensors@0.7`"),
        ("loras/style.safetensors", None),
        ("/org/repo", None),
        ("./org/repo", None),
        ("../org/repo", None),
        ("~/org/repo", None),
        ("my loras/style", None),
    ],
)
def test_a_missing_path_in_another_syntax_gets_the_right_one_as_a_hint(path, typed):
    hint = path_hint(path)
    assert hint is None if typed is None else typed in (hint or "")


@pytest.mark.parametrize(
    ("text", "rest", "curve"),
    [
        ("zoom-in@0:0,50%:1", "zoom-in", "0:0.0,50%:1.0"),
        ("zoom-in@steps:0:1,-1:0.5", "zoom-in", "steps:0:1.0,-1:0.5"),
        ("civitai:1@2@0:.5,1.5s:-1", "civitai:1@2", "0:0.5,1.5s:-1.0"),
        ("hf:org/repo/file@main@0-8:1", "hf:org/repo/file@main", "0:1.0,8:1.0"),
        ("./a@b.safetensors@100%:2", "./a@b.safetensors", "100%:2.0"),
    ],
)
def test_a_scale_may_be_a_curve(text, rest, curve):
    ref = parse_ref(text, scaled=True)
    assert str(ref.scale) == curve
    assert replace(ref, scale=None) == parse_ref(rest)
    assert parse_ref(str(ref), scaled=True) == ref
    with pytest.raises(UsageError, match="training needs one scale, got the curve"):
        constant_scale(ref, "training")


@pytest.mark.parametrize("text", ["zoom-in@0:nan", "zoom-in@0:1,50%", "zoom-in@0:1,1:1e999", "zoom-in@0:1,0:2"])
def test_a_curve_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError) as refusal:
        parse_ref(text, scaled=True)
    assert refusal.value.hint


def test_commas_of_a_curve_do_not_part_references():
    text = "a@0:0,50%:1,-1:0, ./b.safetensors@0.5,c@steps:0:1,5:0,hf:org/repo/d"
    assert split_refs(text) == ["a@0:0,50%:1,-1:0", "./b.safetensors@0.5", "c@steps:0:1,5:0", "hf:org/repo/d"]
