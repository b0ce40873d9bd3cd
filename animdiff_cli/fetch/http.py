"""HTTP requests for files and JSON. Follows redirects itself and maps every server response to a few cases."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, NewConnectionError

from animdiff_cli.core.urls import is_valid_url, origin, redacted
from animdiff_cli.errors import AnimdiffError, NetworkError, NotFound
from animdiff_cli.fetch.network import Network, host, retry_after_s
from animdiff_cli.files.untrusted import MAX_BYTES, parse_json

REDIRECT_STATUSES = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 10
TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
PROXY_HINT = "open the URL in a browser: a proxy or a login page may be in the way"

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


class TransientError(Exception):
    """A failure that a retry may fix. `error` is the error to raise when retries are exhausted."""

    def __init__(self, error: AnimdiffError, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.wait_s = error, wait_s


class RangeNotSatisfiable(Exception):
    """The server has no such bytes (status 416): the file has changed since the download started."""


@dataclass(frozen=True, slots=True)
class FileResponse:
    """Parsed headers of a file response whose body is still unread. `stop` and `size` are None if unknown."""

    response: requests.Response
    start: int
    stop: int | None
    size: int | None  # of the whole file
    validator: str | None  # ETag, else Last-Modified: changes when the file does

    @property
    def is_partial(self) -> bool:
        """True if the server sends the requested range; False if it sends the whole file."""
        return self.response.status_code == 206

    @property
    def is_chunked(self) -> bool:
        """True for chunked transfer encoding, which detects a truncated body without Content-Length."""
        return "chunked" in self.response.headers.get("Transfer-Encoding", "").lower()


class _TokenAuth(AuthBase):
    """Add the token that belongs to the site of a request. An explicit auth stops requests from reading `~/.netrc`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._network.token_for(request.url or "")
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def open_session(network: Network) -> requests.Session:
    """Open a session with keep-alive connections. Use one per thread."""
    session = requests.Session()
    session.auth = _TokenAuth(network)
    # identity: received bytes are counted and hashed as they are
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"animdiff/{version('animdiff')}"})
    return session


def get_file(
    session: requests.Session,
    url: str,
    network: Network,
    byte_range: tuple[int, int] | None = None,
    redirected_url: str | None = None,
) -> FileResponse:
    """Request a file, or its bytes [start, stop). The final URL after redirects is `.response.url` of the result.

    `redirected_url` is the final URL of an earlier request; passing it skips the redirects.
    Raises `TransientError` for failures to retry, `RangeNotSatisfiable`, and `AnimdiffError` for all others.
    """
    headers = {"Range": f"bytes={byte_range[0]}-{byte_range[1] - 1}"} if byte_range else {}
    response = _get(session, redirected_url or url, network, headers)
    try:
        return _parse_headers(response, url, network)
    except BaseException:
        response.close()
        raise


def get_json(session: requests.Session, url: str, network: Network) -> object:
    """Request a JSON document. Raises like `get_file`."""
    response = _get(session, url, network, {})
    if response.status_code != 200:
        _raise_for_status(response, url, network)
    try:
        with response:
            content = response.raw.read(MAX_BYTES + 1, decode_content=True)
        return parse_json(content if len(content) <= MAX_BYTES else b"")
    except (ValueError, HTTPError) as error:
        raise NetworkError(f"{host(url)} did not return JSON", hint=PROXY_HINT) from error


def connection_failed(url: str) -> NetworkError:
    """Return the error for a site that cannot be reached."""
    return NetworkError(f"no connection to {host(url)}", hint="check the network and `https_proxy`, then run it again")


def proxy_failure(url: str, error: Exception) -> NetworkError | None:
    """Return the error for a proxy of the environment that cannot be reached or used; None for other failures."""
    proxy = select_proxy(url, get_environ_proxies(url, no_proxy=None))
    if not proxy or not _is_proxy_error(error):
        return None
    shown = redacted(proxy)
    if any(words in str(error).lower() for words in ("missing dependencies", "socksio")):
        hint = 'install it: `pip install "requests[socks]" socksio`'
        return NetworkError(f"the proxy `{shown}` needs a package for SOCKS", hint=hint)
    scheme, has_scheme, _ = proxy.partition("://")
    if has_scheme and scheme.lower() not in PROXY_SCHEMES:
        hint = "write it as `http://host:port` or `socks5h://host:port`"
        return NetworkError(f"the proxy `{shown}` is not of a known kind", hint=hint)
    message = f"no connection to {host(url)} through the proxy `{shown}`"
    return NetworkError(message, hint="check `https_proxy` and `ALL_PROXY`; `NO_PROXY` lists hosts to reach directly")


def unauthorized(url: str, network: Network) -> NetworkError:
    """Return the error for a missing or rejected token, with a hint how to get one."""
    if origin(url) == origin(network.civitai):
        hint = "create an API key at https://civitai.com/user/account, then `export CIVITAI_TOKEN=…`"
    elif origin(url) == origin(network.hub):
        hint = "accept the model's terms on its page, then `hf auth login` or `export HF_TOKEN=…`"
    else:
        hint = "download it in a browser, then pass the path of the saved file"
    reason = "rejected your token for this file" if network.token_for(url) else "requires a login for this file"
    return NetworkError(f"{host(url)} {reason}", hint=hint)


def _get(session: requests.Session, url: str, network: Network, headers: dict[str, str]) -> requests.Response:
    """Send a GET request and follow redirects. Each hop gets only the token of its own site."""
    timeout = (network.retry_policy.connect_timeout_s, network.retry_policy.read_timeout_s)
    for _ in range(MAX_REDIRECTS):
        network.require_encryption(url)
        try:
            response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
        except (requests.RequestException, ValueError) as error:
            raise _request_failed(url, error) from error
        if response.status_code not in REDIRECT_STATUSES:
            return response
        target = _redirect_target(url, response)
        response.close()
        url = target
    raise NetworkError(f"too many redirects from {host(url)}", hint=PROXY_HINT)


def _redirect_target(url: str, response: requests.Response) -> str:
    try:
        target = urljoin(url, response.headers.get("Location", ""))
    except ValueError:
        target = ""
    if not is_valid_url(target) or urlsplit(target).scheme not in ("https", urlsplit(url).scheme):
        raise NetworkError(f"{host(url)} redirects to a URL that is not HTTPS", hint=PROXY_HINT)
    return target


def _request_failed(url: str, error: Exception) -> TransientError | NetworkError:
    """Return the error for a request without a response. Only a lost or refused connection is worth a retry."""
    if isinstance(error, requests.exceptions.SSLError):
        hint = "check the system clock and the CA certificates"
        return NetworkError(f"cannot verify the certificate of {host(url)}", hint=hint)
    if failure := proxy_failure(url, error):
        return failure
    if isinstance(error, ValueError):  # an invalid URL, which `requests` derives from ValueError too
        return NetworkError(f"{host(url)}: not a URL that can be requested", hint="check the URL")
    return TransientError(connection_failed(url))


def _parse_headers(response: requests.Response, requested_url: str, network: Network) -> FileResponse:
    if response.status_code == 416:
        raise RangeNotSatisfiable
    if response.status_code not in (200, 206):
        _raise_for_status(response, requested_url, network)
    headers, site = response.headers, host(requested_url)
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise NetworkError(f"{site} sent a web page instead of the file", hint=PROXY_HINT)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NetworkError(f"{site} sent a compressed response that was not requested", hint=PROXY_HINT)
    validator = headers.get("ETag") or headers.get("Last-Modified")
    if response.status_code == 200:
        length = headers.get("Content-Length", "")
        size = int(length) if _LENGTH.fullmatch(length) else None
        return FileResponse(response, 0, size, size, validator)
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    size = None if match is None or match[3] == "*" else int(match[3])
    if match is None or int(match[2]) < int(match[1]) or (size is not None and int(match[2]) >= size):
        raise TransientError(NetworkError(f"{site} sent a range without valid Content-Range", hint="run it again"))
    return FileResponse(response, int(match[1]), int(match[2]) + 1, size, validator)


def _raise_for_status(response: requests.Response, requested_url: str, network: Network) -> NoReturn:
    """Raise the error for a status. `requested_url`, before redirects, decides which token the hint names."""
    status = response.status_code
    response.close()
    site = host(requested_url)
    if status in TRANSIENT_STATUSES:
        problem = "rate limit reached on" if status == 429 else "server error on"
        raise TransientError(
            NetworkError(f"{problem} {site} (status {status})", hint="wait a little, then run it again"),
            retry_after_s(response.headers),
        )
    if status in (404, 410):
        path = redacted(requested_url.partition("?")[0])
        raise NotFound(f"{site} has no such file: {path}", hint="check the name and the revision")
    if status in (401, 403) and origin(response.url or requested_url) != origin(requested_url):
        # a signed URL of the storage host has expired; the next attempt gets a new one
        raise TransientError(NetworkError(f"{host(response.url)} rejected an expired URL", hint="run it again"))
    if status in (401, 403):
        raise unauthorized(requested_url, network)
    raise NetworkError(f"{site} returned status {status}", hint="run it again later")


def _is_proxy_error(error: BaseException | None) -> bool:
    """True if the connection to a proxy failed, or the proxy refused it. Looks at the causes of `error` too."""
    while error is not None:
        name, message = type(error).__name__, str(error)
        if isinstance(error, NewConnectionError) or "Proxy" in name or name == "ConnectError":
            return True
        if any(words in message for words in ("SOCKS", "Proxy protocol", "for proxy URL")):
            return True
        error = error.__cause__ or error.__context__
    return False
