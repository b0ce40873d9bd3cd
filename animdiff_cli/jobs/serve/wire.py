"""What client and server send to each other as JSON: the request of a render, its job, and errors."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from animdiff_cli import errors
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.formats import Format
from animdiff_cli.core.naming import DEFAULT_TEMPLATE
from animdiff_cli.core.validation_words import in_own_words
from animdiff_cli.errors import AnimdiffError, UsageError

#: bytes of a request; the longest prompts and lists of weights are far below
MAX_BODY = 1 << 20

#: of a file that is not at a path: `s3://…`; also `file:/…`, which would be read as a local path
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

State = Literal["queued", "started", "done", "failed", "interrupted"]
FINISHED: frozenset[State] = frozenset(("done", "failed", "interrupted"))

#: exit code → HTTP status; 1 is a bug
STATUSES: Mapping[int, int] = {1: 500, 2: 422, 3: 404, 4: 502, 5: 422, 6: 422}
_ERRORS: Mapping[int, type[AnimdiffError]] = {
    error.exit_code: error
    for error in (errors.UsageError, errors.NotFound, errors.NetworkError, errors.IntegrityError, errors.DeviceError)
}


class RenderRequest(BaseModel):
    """A render: settings as in a config file of `generate`, and these keys beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Mapping[str, Any] = Field(exclude=True)
    preset: str | None = Field(None, max_length=200, description="Preset of the server to start from.")
    formats: tuple[Format, ...] = Field((), max_length=10, description="Formats to write; `gif` by default.")
    output: str = Field(
        DEFAULT_TEMPLATE,
        min_length=1,
        max_length=1000,
        description="Name below the output folder of the server, or a template as for `--output`.",
    )
    keep: bool = Field(True, description="Keep the files after the job is deleted. If false, they are temporary.")
    origins: Mapping[str, Annotated[str, Field(max_length=200)]] = Field(
        default_factory=dict, description="Where settings come from, for messages: `{steps: --steps}`."
    )

    @classmethod
    def of(cls, body: object) -> Self:
        """Check an untrusted request. Settings are checked together with the preset. Raises `UsageError`."""
        if not isinstance(body, Mapping):
            raise UsageError("the request is not a JSON object", hint='send `{"model": "pocket", "prompt": "…"}`')
        own = {key: body[key] for key in cls.model_fields if key in body and key != "settings"}
        settings = {key: value for key, value in body.items() if key not in own}
        try:
            return cls(settings=settings, **own)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise UsageError(f"request: `{key}`: {in_own_words(first['msg'])}", hint="see `/openapi.json`") from error


class ErrorRecord(BaseModel):
    """An error, as `--json` prints it."""

    error: str = Field(description="What failed, and why.")
    hint: str | None = Field(None, description="What to do next.")
    code: int = Field(description="Exit code of this failure; 1 is a bug.")


class FileRecord(BaseModel):
    """A file of a finished job, to be read at `/jobs/JOB/files/PATH`."""

    format: Format
    path: str = Field(description="Path below the output folder; in a folder of frames, that of one frame.")
    bytes: int
    sha256: str


class JobRecord(BaseModel):
    """A job of the server."""

    job: str = Field(description="Identity of the job.")
    state: State
    position: int | None = Field(None, description="Jobs before this one, while it is queued.")
    created: str = Field(description="Time in UTC, ISO 8601.")
    config: Mapping[str, Any] = Field(description="Settings of the clip.")
    files: tuple[FileRecord, ...] = ()
    error: ErrorRecord | None = None


class Health(BaseModel):
    """State of the server."""

    status: Literal["ok", "stopping"]
    version: str
    queued: int = Field(description="Jobs that wait.")
    running: int = Field(description="Jobs that are rendered.")
    models: int = Field(description="Sets of weights that are loaded.")


def request_schema() -> dict[str, Any]:
    """Return the JSON Schema of the body of a render request."""
    own = RenderRequest.model_json_schema()["properties"]
    own.pop("settings")
    settings = GenerateConfig.model_json_schema()["properties"]
    return {
        "title": "RenderRequest",
        "description": "Settings as in a config file of `animdiff generate`. The model may recommend other defaults.",
        "type": "object",
        "additionalProperties": False,
        "required": ["prompt"],
        "properties": settings | own,
        "example": {"model": "pocket", "prompt": "a red rocket in the night sky", "seed": 7, "formats": ["gif"]},
    }


def error_record(error: AnimdiffError) -> ErrorRecord:
    """Return an error as JSON has it."""
    return ErrorRecord(error=str(error), hint=error.hint, code=error.exit_code)


def error_of(record: Mapping[str, Any]) -> AnimdiffError:
    """Return the error that a record describes, with the same exit code."""
    hint, code = record.get("hint"), record.get("code")
    kind = _ERRORS.get(code, AnimdiffError) if isinstance(code, int) else AnimdiffError
    return kind(str(record.get("error")), hint=hint if isinstance(hint, str) else None)
