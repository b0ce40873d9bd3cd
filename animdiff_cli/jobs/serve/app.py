"""The HTTP interface of `animdiff serve`. `/openapi.json` describes it."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from animdiff_cli.core.formats import MEDIA_TYPES
from animdiff_cli.errors import AnimdiffError, NotFound
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.jobs.serve.planning import Planned
from animdiff_cli.jobs.serve.queue import Job, QueueFull, RenderQueue, Stopping
from animdiff_cli.jobs.serve.wire import (
    MAX_BODY,
    STATUSES,
    ErrorRecord,
    Health,
    JobRecord,
    RenderRequest,
    error_record,
    request_schema,
)

RETRY_AFTER = 1  # seconds
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorRecord, "description": description}
    for status, description in (
        (401, "The access token is missing or wrong."),
        (404, "There is no such job, model, preset or file."),
        (422, "The request is wrong, or this machine cannot render it."),
    )
}
_FULL: dict[int | str, dict[str, Any]] = {
    413: {"model": ErrorRecord, "description": f"The request has more than {MAX_BODY} bytes."},
    415: {"model": ErrorRecord, "description": "The request is not `application/json`."},
    429: {"model": ErrorRecord, "description": "The queue is full. Send the request again later."},
    503: {"model": ErrorRecord, "description": "The server is stopping."},
}


def create_app(
    queue: RenderQueue, plan: Callable[[RenderRequest], Planned], *, version: str, num_models: Callable[[], int]
) -> FastAPI:
    """Return the application. `plan` checks a request in another thread; `num_models` counts what is loaded."""
    app = FastAPI(
        title="animdiff serve",
        version=version,
        description="Render clips with models that stay loaded.",
        docs_url=None,  # the page loads scripts from another site
        redoc_url=None,
        responses=_ERRORS,
    )
    _answer_errors_as_json(app)

    async def find(job_id: Annotated[str, Path(description="Identity of a job.", max_length=64)]) -> Job:
        if job_id not in queue.jobs:
            raise NotFound(f"there is no job `{job_id}`", hint="finished jobs are forgotten after a while")
        return queue.jobs[job_id]

    found = Depends(find)
    body = {"required": True, "content": {"application/json": {"schema": request_schema()}}}

    @app.post("/render", status_code=202, responses=_FULL, openapi_extra={"requestBody": body})
    async def render(request: Request, response: Response) -> JobRecord:
        """Check a render and queue it."""
        queue.require_room()
        wanted = RenderRequest.of(await _read_json(request))
        job = queue.add(await run_in_threadpool(plan, wanted))
        response.headers["Location"] = f"/jobs/{job.id}"
        return queue.view(job)

    @app.get("/jobs")
    async def list_jobs() -> list[JobRecord]:
        """List all jobs, oldest first."""
        return [queue.view(job) for job in queue.jobs.values()]

    @app.get("/jobs/{job_id}")
    async def show_job(job: Annotated[Job, found]) -> JobRecord:
        """Show one job."""
        return queue.view(job)

    @app.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
    async def follow_job(
        job: Annotated[Job, found], last_event_id: Annotated[int, Header(ge=0)] = 0
    ) -> AsyncIterator[ServerSentEvent]:
        """Stream the events of a job from its beginning, or after `Last-Event-ID`, until it is finished."""
        async for number, record in job.follow(last_event_id):
            yield ServerSentEvent(data=record, event=record["event"], id=str(number))

    @app.delete("/jobs/{job_id}")
    async def cancel_job(job: Annotated[Job, found]) -> JobRecord:
        """Cancel a job that waits, or one that runs at its next step. Forget a finished one."""
        queue.cancel(job)
        return queue.view(job)

    @app.get("/jobs/{job_id}/files/{path:path}", response_class=FileResponse)
    async def read_file(job: Annotated[Job, found], path: str) -> FileResponse:
        """Read a file of a finished job, under a path that the job lists."""
        target = job.file(path)
        if target is None:
            raise NotFound(f"the job has no file `{path}`", hint="its files are in `files` of the job")
        return FileResponse(target, media_type=MEDIA_TYPES.get(target.suffix, "application/octet-stream"))

    @app.get("/health")
    async def health() -> Health:
        """Tell whether the server takes jobs. Needs no token."""
        status = "stopping" if queue.is_stopping else "ok"
        counts = {"queued": queue.num_waiting, "running": queue.num_running, "models": num_models()}
        return Health(status=status, version=version, **counts)

    return app


class _Refused(AnimdiffError):
    """A request that is refused with an HTTP status of its own."""

    exit_code = 2

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status


async def _read_json(request: Request) -> Any:
    """Read the body of a request up to `MAX_BODY` bytes."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _Refused(415, "the request is not JSON", "send `Content-Type: application/json`")
    too_large = _Refused(413, f"the request has more than {MAX_BODY} bytes", "send less")
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise too_large
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise too_large
    try:
        return parse_json(bytes(content))
    except ValueError as error:
        raise _Refused(422, f"the request is not JSON: {error}", "check it with `python -m json.tool`") from error


def _answer_errors_as_json(app: FastAPI) -> None:
    """Answer every error with the keys of `ErrorRecord`."""

    def answer(status: int, record: ErrorRecord, **headers: str) -> JSONResponse:
        return JSONResponse(record.model_dump(), status, headers)

    @app.exception_handler(AnimdiffError)
    async def known(_request: Request, error: AnimdiffError) -> JSONResponse:
        if isinstance(error, (QueueFull, Stopping)):
            status = 429 if isinstance(error, QueueFull) else 503
            return answer(status, error_record(error), **{"Retry-After": str(RETRY_AFTER)})
        status = error.status if isinstance(error, _Refused) else STATUSES[error.exit_code]
        return answer(status, error_record(error))

    @app.exception_handler(HTTPException)
    async def of_framework(_request: Request, error: HTTPException) -> JSONResponse:
        hint = "see `/openapi.json`"
        return answer(error.status_code, ErrorRecord(error=str(error.detail).lower(), hint=hint, code=2))

    @app.exception_handler(RequestValidationError)
    async def wrong(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        message = f"`{'.'.join(map(str, first['loc']))}`: {first['msg'].lower()}"
        return answer(422, ErrorRecord(error=message, hint="see `/openapi.json`", code=2))

    @app.exception_handler(Exception)
    async def bug(_request: Request, error: Exception) -> JSONResponse:
        return answer(500, ErrorRecord(error=f"{type(error).__name__}: {error}", hint="see the log", code=1))
