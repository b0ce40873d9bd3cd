"""Text from files, names and settings, made safe to print or to store as UTF-8."""

import json
import re

#: C0 and C1 control characters, line and paragraph separators, characters that reorder text, lone surrogates
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, *, keep_bytes: bool = False) -> str:
    r"""Return `str(text)` on one line, with characters that a terminal would act on or cannot show escaped.

    Bytes of a file name that is not UTF-8, which Python decodes to surrogates, become `\xe9`. All other text is
    unchanged, backslashes too. The result can always be encoded as UTF-8. `keep_bytes`: leave those surrogates as they
    are, for `os.fsencode`.

    >>> printable("caf\udce9\x1b[31m")
    'caf\\xe9\\x1b[31m'
    """
    return _UNSAFE.sub(lambda match: _escaped(match[0], keep_bytes=keep_bytes), str(text))


def json_line(record: object, *, ascii_only: bool = False) -> str:
    """Format JSON on one line. The characters that `printable` escapes become JSON escapes, which keep the value.

    `ascii_only`: escape every character outside ASCII, for streams with another encoding than UTF-8.
    """
    return _escape_json(json.dumps(record, ensure_ascii=ascii_only))


def json_page(record: object) -> str:
    """Format JSON with one value a line, escaped as by `json_line`."""
    lines = json.dumps(record, ensure_ascii=False, indent=2).split("\n")  # in values, line ends are escaped
    return "\n".join(_escape_json(line) for line in lines) + "\n"


def _escape_json(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(character: str, *, keep_bytes: bool) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: one byte that could not be decoded
        if keep_bytes:
            return character
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def number_of_times(count: int) -> str:
    """Return how often something is there.

    >>> number_of_times(2), number_of_times(3)
    ('twice', '3 times')
    """
    return "twice" if count == 2 else f"{count} times"


def format_duration(seconds: float) -> str:
    """Format a time left in at most two units.

    >>> format_duration(8.4), format_duration(106), format_duration(7500)
    ('8 s', '1 min 46 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "frame"), counted(1500, "frame")
    ('1 frame', '1500 frames')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
