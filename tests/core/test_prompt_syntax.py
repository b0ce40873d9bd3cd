import pytest

from animdiff_cli.core.prompt_syntax import unsupported_syntax


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a [fox:dog:0.5]", "`[fox:dog:0.5]`: prompt editing is not supported yet and is read as text of less weight"),
        ("a [fox|dog]", "`[fox|dog]`: prompt editing"),
        ("a fox AND a dog", "`AND`: a prompt in parts"),
        ("0: a fox", "`0: a fox`: a prompt for a frame"),
        ("a fox\n16: a dog", "`16: a dog`: a prompt for a frame"),
        ("a fox <hypernet:ink:1>", "`<hypernet:ink:1>`: a hypernetwork"),
        ("a red++ fox", "`red++`: the notation of compel is read as plain text without `--prompt-syntax compel`"),
        ("a {red|blue x", "`{red|blue x`: a choice without `}` is read as text"),
        (r"a {2$$red\} x", r"`{2$$red\} x`: a choice without `}`"),
        ("a (red:1.4 x, (blue:1.2)", "`(red:1.4 x, (blue:1.2)`: a weight without `)` is read as text of weight 1.1"),
        ('("a fox", "snow").and()', "`).and(`: the notation of compel"),
    ],
)
def test_each_kind_of_syntax_is_named_once(prompt, named):
    notes = unsupported_syntax([prompt, prompt, f"{prompt} "])
    assert len(notes) == 1
    assert notes[0].startswith(named)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a (red:1.3) ball", "`(red:1.3)`: a weighted prompt is written `(words)1.2` for compel"),
        ("a ball BREAK in a meadow", "`BREAK`: a prompt in parts"),
    ],
)
def test_compel_has_notes_of_its_own(prompt, named):
    (note,) = unsupported_syntax([prompt], "compel")
    assert note.startswith(named)


def test_text_that_is_plain_by_choice_gives_no_note():
    assert unsupported_syntax(["a (red:1.3) [fox|dog]++ {a|b} BREAK __c__"], "plain") == ()


@pytest.mark.parametrize(
    ("prompt", "flag"),
    [
        ("<lora:ink:0.8>", "--lora ink@0.8"),
        ("<LORA:my-style_v1.5:-1>", "--lora my-style_v1.5@-1"),
        ("<lora:ink>", "--lora ink"),
        ("<lyco:ink:0.5:0.2>", "--lora ink@0.5"),
    ],
)
def test_a_lora_in_a_prompt_is_answered_with_the_flag(prompt, flag):
    (note,) = unsupported_syntax([f"a fox {prompt}"])
    assert note == f"`{prompt}` in a prompt applies no LoRA: add `{flag}`"


@pytest.mark.parametrize(
    "prompt",
    [
        "a fox (in the snow), 16:9, f/1.8",
        "16:9 portrait of a fox",
        "A FOX AND A DOG",
        "snake_case and __init, a {red|blue} ball, __colour__",
        "time is 10:30, ratio (16:9 or so)",
        "a (red:1.3) ball, ((snow)) [night] BREAK a fox, well-known -- C+",
        "a <b> c, {x}, [y], a|b",
        r"a { ball, \{red and blue",
        r"a fox :( ((red:1.4) x, (at 10:30, 16:9",
        r"\{red|blue, \(red:1.4",
        "",
    ],
)
def test_plain_text_gives_no_note(prompt):
    assert unsupported_syntax([prompt]) == ()


def test_long_syntax_is_shortened():
    (note,) = unsupported_syntax([f"[{'x' * 100}|y]"])
    assert len(note) < 120
