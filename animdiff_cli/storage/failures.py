"""Failures of storage systems as errors that the user can act on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from animdiff_cli.core.urls import STORAGE_PACKAGES, redacted
from animdiff_cli.errors import AnimdiffError, NetworkError, NotFound, UsageError
from animdiff_cli.files.os_errors import DISK_FULL
from animdiff_cli.storage.location import RemotePath

_S3 = "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or run `aws configure`"
_GOOGLE = "run `gcloud auth application-default login`, or set `GOOGLE_APPLICATION_CREDENTIALS`"
_SSH = "check that `ssh` connects to this host without a question: the key is in `ssh-agent`, the host in `known_hosts`"
_AZURE = "set `AZURE_STORAGE_CONNECTION_STRING`, or run `az login`"
#: scheme → how to get access
_ACCESS: Mapping[str, str] = {
    **dict.fromkeys(("s3", "s3a"), _S3),
    **dict.fromkeys(("gs", "gcs"), _GOOGLE),
    **dict.fromkeys(("sftp", "ssh"), _SSH),
    **dict.fromkeys(("az", "abfs", "abfss"), _AZURE),
}
#: scheme → what to check if there is no answer
_CONNECTION: Mapping[str, str] = dict.fromkeys(
    ("s3", "s3a"), "check the network; `AWS_ENDPOINT_URL` is the server, `AWS_DEFAULT_REGION` its region"
)


@contextmanager
def storage_failures(verb: str, path: RemotePath) -> Iterator[None]:
    """Convert any failure of a storage system inside the context: "cannot `verb` `path`: reason".

    Raises `UsageError` for a missing package, `NotFound` for a missing file, folder or bucket, `NetworkError` for all
    others. Keeps `AnimdiffError`, and `OSError` for a full disk of this machine and for a file that exists.
    """
    try:
        yield
    except (AnimdiffError, FileExistsError):
        raise
    except ImportError as error:
        raise missing_package(path) from error
    except Exception as error:  # each storage library has classes of its own, with no common base
        if is_missing(error):
            hint = "check the URL; a bucket is not created"
            raise NotFound(f"cannot {verb} `{path}`: there is no such file, folder or bucket", hint=hint) from error
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        reason = "permission denied" if isinstance(error, PermissionError) else _reason(_answer(error) or error)
        is_access = any(word in reason.lower() for word in ("permission", "credential", "auth", "known_hosts"))
        hint = (is_access and _ACCESS.get(path.scheme)) or _CONNECTION.get(path.scheme, "check the network and the URL")
        raise NetworkError(f"cannot {verb} `{path}`: {reason}", hint=hint) from error


def missing_package(path: RemotePath) -> UsageError:
    """Return the error for a storage system whose package is not installed."""
    package = STORAGE_PACKAGES[path.scheme]
    in_extra = package in ("s3fs", "gcsfs", "paramiko")
    name = "'animdiff[remote]'" if in_extra else package
    hint = f"install it: `pip install {name}`"
    return UsageError(f"`{path.scheme}:` URLs need the package `{package}`", hint=hint)


def is_missing(error: Exception) -> bool:
    """Return whether an error says that there is no such file."""
    answer = _answer(error)
    return isinstance(error, FileNotFoundError) and (answer is None or getattr(answer, "status", None) in (404, 410))


def _answer(error: Exception) -> Exception | None:
    """Return the failure that fsspec's HTTP client reports as a missing file, whatever it is; None for others."""
    cause = error.__cause__
    is_http = isinstance(error, FileNotFoundError) and type(cause).__module__.startswith("aiohttp.")
    return cause if is_http and isinstance(cause, Exception) else None


def _reason(error: Exception) -> str:
    """Return the message of another program on one line."""
    return " ".join(redacted(str(error)).split()) or type(error).__name__
