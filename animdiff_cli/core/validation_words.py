"""Reword what pydantic and typer say of a wrong value, so that all messages use the same words."""

import re

#: (message of the library, ours), tried in order; all that match are applied
_PHRASES: tuple[tuple[str, str], ...] = (
    (r"\bValue error, ", ""),
    (r"^Invalid value for '([^']+)'(?: \(env var: '[^']+'\))?: ", r"`\1`: "),
    (r"^Invalid value: ", ""),
    (r"^Missing (argument|option) '([^']+)'.*", r"missing \1: \2"),
    (r"^Option '([^']+)' requires an argument", r"`\1` needs a value"),
    (r"^Option '([^']+)' does not take a value", r"`\1` takes no value"),
    (r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)", r"unexpected: \1"),
    (r"^Missing command", "no command given"),
    (r"Input should be a valid integer.*", "must be a whole number"),
    (r"Input should be a valid number.*", "must be a number"),
    (r"Input should be a finite number.*", "must be a finite number"),
    (r"Input should be a valid boolean.*", "must be true or false"),
    (r"Input should be a valid (?:string|path).*", "must be text"),
    (r"Input should be a valid (?:list|tuple).*", "must be a list"),
    (r"Input should be a valid dictionary.*", "must be a mapping of keys and values"),
    (r"Input should be greater than or equal to (.+)", r"must be \1 or more"),
    (r"Input should be less than or equal to (.+)", r"must be \1 or less"),
    (r"Input should be greater than (.+)", r"must be more than \1"),
    (r"Input should be less than (.+)", r"must be less than \1"),
    (r"String should have at least 1 character", "must not be empty"),
    (r"String should match pattern '(.+)'", r"must match the pattern \1"),
    (r"Field required", "is missing"),
    (r"Extra inputs are not permitted", "unknown key"),
)
_CHOICES = re.compile(r"(?:'([^']*)' is not one of|Input should be) ('.*')")


def in_own_words(message: str) -> str:
    """Reword a message of pydantic or typer; other messages are unchanged.

    >>> in_own_words("Invalid value for '--steps': Input should be a valid integer, unable to parse string")
    '`--steps`: must be a whole number'
    >>> in_own_words("Invalid value for '--dtype': 'fp8' is not one of 'fp16', 'fp32'")
    '`--dtype`: must be one of fp16, fp32, got `fp8`'
    """
    for pattern, words in _PHRASES:
        message = re.sub(pattern, words, message)
    return _CHOICES.sub(_choices, message)


def _choices(match: re.Match[str]) -> str:
    allowed = ", ".join(re.findall(r"'([^']*)'", match[2]))
    return f"must be one of {allowed}" + (f", got `{match[1]}`" if match[1] is not None else "")
