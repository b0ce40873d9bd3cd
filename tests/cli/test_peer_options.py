"""Options and commands of similar programs get the hint to type here."""

import pytest

from animdiff_cli.cli.peer_options import HERE, NOT_YET


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["generate", "--cfg", "7"], "use `--guidance-scale`"),
        (["generate", "--sampler=euler"], "use `--scheduler`"),
        (["generate", "--negative_prompt", "x"], "use `--negative`"),
        (["generate", "--num-frames", "16"], "use `--frames`"),
        (["generate", "--guidance_scale", "7"], "use `--guidance-scale`"),
        (["generate", "--output-dir", "x"], "use `--output`"),
        (["generate", "--batch-size", "2"], "use `--repeat`"),
        (["train-lora", "--batch-size", "2"], "use `--batch`"),
        (["train-lora", "--learning_rate", "2"], "use `--lr`"),
        (["train-lora", "--resolution", "2"], "use `--size`"),
        (["generate", "--resolution", "512"], "use `--width 512 --height 512`"),
        (["generate", "--init-image", "a.png"], "use `--image`"),
        (["generate", "--denoising-strength", "0.6"], "use `--denoise`"),
        (["generate", "--upscale"], "there is no option for this yet: upscaling is not supported"),
        (["generate", "--sede", "1"], "did you mean `--seed`? See `animdiff generate --help`"),
        (["generate", "a fox"], 'the prompt is an option: `--prompt "a fox"`'),
        (["render"], "use `animdiff generate`"),
        (["genrate"], "did you mean `generate`? See `animdiff --help`"),
        (["models", "lst"], "did you mean `list`? See `animdiff models --help`"),
        (["models", "xyz"], "see `animdiff models --help`"),
        (["--xyz"], "see `animdiff --help`"),
        (["--verson"], "did you mean `--version`? See `animdiff --help`"),
    ],
)
def test_an_unknown_word_gets_a_hint(animdiff, words, hint):
    result = animdiff(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    error, last = result.stderr.splitlines()
    assert error.startswith("error: ") and last == f"hint: {hint}"


def test_no_option_is_both_here_and_missing_in_generate(animdiff):
    help_text = animdiff("generate", "--help").stdout
    for feature, names in NOT_YET.items():
        assert not [name for name in names if f"--{name} " in help_text], feature
    assert not [name for names in HERE.values() for name in names if name != name.lower().replace("_", "-")]


def test_ls_is_list(animdiff):
    assert animdiff("presets", "ls").stdout == animdiff("presets", "list").stdout != ""


def test_a_root_error_is_json_too(animdiff):
    assert animdiff("--xyz", "--json").stderr.startswith('{"error": "no such option: --xyz"')


def test_the_version_has_a_short_flag(animdiff):
    assert animdiff("-V").stdout == animdiff("--version").stdout != ""
