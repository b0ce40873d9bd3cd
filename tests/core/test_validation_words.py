"""Messages of pydantic and typer in the words of this program."""

import re

import pytest
from pydantic import BaseModel, ValidationError

from animdiff_cli.core.choices import Kind
from animdiff_cli.core.validation_words import in_own_words
from animdiff_cli.registry.catalog import CatalogEntry, first_validation_error

FOREIGN = re.compile(r"Input should|Invalid value|Value error|unable to parse|String should|permitted|Field required")


class Record(BaseModel):
    count: int = 1
    share: float = 0.5
    name: str = ""
    on: bool = True
    kind: Kind = "lora"
    many: tuple[str, ...] = ()
    table: dict[str, int] = {}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("count", "abc", "must be a whole number"),
        ("count", 1.5, "must be a whole number"),
        ("share", "abc", "must be a number"),
        ("name", 3, "must be text"),
        ("on", "maybe", "must be true or false"),
        ("many", 3, "must be a list"),
        ("table", 3, "must be a mapping of keys and values"),
        ("kind", "x", "must be one of base, motion-module, motion-lora"),
    ],
)
def test_what_pydantic_says_of_a_value(key, value, words):
    with pytest.raises(ValidationError) as error:
        Record(**{key: value})
    message = in_own_words(error.value.errors()[0]["msg"])
    assert message.startswith(words) and not FOREIGN.search(message)


@pytest.mark.parametrize(
    "fields",
    [{}, {"kind": "x"}, {"bytes": "many"}, {"bytes": 0}, {"alias": "X Y"}, {"description": ""}, {"more": 1}],
)
def test_what_is_wrong_with_a_catalog_entry(fields):
    entry = {"alias": "x", "kind": "lora", "base": "sd15", "description": "X."} | fields
    with pytest.raises(ValidationError) as error:
        CatalogEntry.model_validate(entry)
    assert not FOREIGN.search(first_validation_error(error.value))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "--steps", "abc"], "`--steps`: must be a whole number"),
        (["generate", "--fps", "x"], "`--fps`: must be a number"),
        (["generate", "--dtype", "fp8"], "`--dtype`: must be one of auto, fp32, fp16, bf16, got `fp8`"),
        (["generate", "--threads", "0"], "`--threads`: must be 1 or more"),
        (["generate", "--steps"], "`--steps` needs a value"),
        (["generate", "--json=1"], "`--json` takes no value"),
        (["convert"], "missing argument: <src>"),
        (["doctor", "x", "y"], "unexpected: x y"),
    ],
)
def test_what_typer_says_of_a_command(words, said):
    from typer.testing import CliRunner

    from animdiff_cli.cli import app

    result = CliRunner().invoke(app, words, prog_name="animdiff")
    assert result.exit_code == 2 and result.stderr.splitlines()[0] == f"error: {said}"
