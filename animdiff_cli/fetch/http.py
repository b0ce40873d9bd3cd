"""Ask for bytes: redirects followed by hand, and every answer a server can give turned into one of a few cases."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase

from animdiff_cli.errors import AnimdiffError, NetworkError, NotFound
from animdiff_cli.fetch.auth import Network, origin
from animdiff_cli.fetch.retry import asked_wait_s
from animdiff_cli.fetch.spans import Span

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 10
#: statuses that another try may cure
PASSING = (408, 425, 429, 500, 502, 503, 504)

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class TransientError(Exception):
    """A failure that another try may cure; `error` is what to say when it does not."""

    def __init__(self, error: AnimdiffError, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.wait_s = error, wait_s


class RangeRefused(Exception):
    """The server has no such bytes (416): the file is not the one that was begun."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, its body still to be read. `stop` and `size` are None where the server does not say."""

    response: requests.Response
    start: int
    stop: int | None
    size: int | None
    validator: str | None  # ETag, else Last-Modified: changes when the file does

    @property
    def is_partial(self) -> bool:
        """True if the server sends the span that was asked for, not all of the file."""
        return self.response.status_code == 206

    @property
    def is_chunked(self) -> bool:
        """True if the end of the body can be told from a cut connection though no length was given."""
        return "chunked" in self.response.headers.get("Transfer-Encoding", "").lower()


class _OwnToken(AuthBase):
    """Send a token to the site it belongs to. Being there at all keeps requests from reading `~/.netrc`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._network.token_for(request.url or "")
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def open_session(network: Network) -> requests.Session:
    """Open a session that keeps connections alive; one per thread."""
    session = requests.Session()
    session.auth = _OwnToken(network)
    # identity: what arrives is counted and hashed as it is
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"animdiff/{version('animdiff')}"})
    return session


def ask(
    session: requests.Session, url: str, network: Network, span: Span | None = None, shortcut: str | None = None
) -> Answer:
    """Ask for a file, or a span of it. The answer's `response.url` is where the redirects ended.

    `shortcut` is where they ended before, to spare the site another round of them.
    Raises `TransientError` for what another try may cure, `RangeRefused`, and `AnimdiffError` for what is final.
    """
    headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
    response = _follow(session, shortcut or url, network, headers)
    try:
        return _read_head(response, url, network)
    except BaseException:
        response.close()
        raise


def get_json(session: requests.Session, url: str, network: Network) -> object:
    """Ask for a JSON document. Raises like `ask`."""
    response = _follow(session, url, network, {})
    if response.status_code != 200:
        _refuse(response, url, network)
    try:
        return response.json()
    except ValueError as error:
        raise NetworkError(f"{host(url)} answered with something other than JSON", hint=PROXY_HINT) from error


def host(url: str) -> str:
    """Name a site as a person would."""
    return urlsplit(url).hostname or url


PROXY_HINT = "open the address in a browser: a proxy or a login page may stand in between"


def _follow(session: requests.Session, url: str, network: Network, headers: dict[str, str]) -> requests.Response:
    timeout = (network.retry_policy.connect_s, network.retry_policy.stall_s)
    for _ in range(MOST_REDIRECTS):
        try:
            response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
        except requests.exceptions.SSLError as error:
            raise NetworkError(f"{host(url)} could not prove who it is", hint="check clock and certificates") from error
        except requests.RequestException as error:
            raise TransientError(unreachable(url)) from error
        if response.status_code not in REDIRECTS:
            return response
        target = urljoin(url, response.headers.get("Location", ""))
        response.close()
        if urlsplit(target).scheme != "https" and urlsplit(target).scheme != urlsplit(url).scheme:
            raise NetworkError(f"{host(url)} redirects to an address that is not https", hint=PROXY_HINT)
        url = target
    raise NetworkError(f"{host(url)} redirects in circles", hint=PROXY_HINT)


def unreachable(url: str) -> NetworkError:
    """Word the failure to get through to a site at all."""
    return NetworkError(f"no connection to {host(url)}", hint="check the network and `https_proxy`, then run it again")


def _read_head(response: requests.Response, asked: str, network: Network) -> Answer:
    if response.status_code == 416:
        raise RangeRefused
    if response.status_code not in (200, 206):
        _refuse(response, asked, network)
    headers = response.headers
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise NetworkError(f"{host(asked)} sent a web page instead of the file", hint=PROXY_HINT)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NetworkError(f"{host(asked)} sent the file compressed, unasked", hint=PROXY_HINT)
    validator = headers.get("ETag") or headers.get("Last-Modified")
    if response.status_code == 200:
        length = headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        return Answer(response, 0, size, size, validator)
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None:
        raise TransientError(NetworkError(f"{host(asked)} sent a part without saying which", hint="run it again"))
    size = None if match[3] == "*" else int(match[3])
    return Answer(response, int(match[1]), int(match[2]) + 1, size, validator)


def _refuse(response: requests.Response, asked: str, network: Network) -> NoReturn:
    """Raise what a status means. `asked` is the address before redirects: it decides whose token would help."""
    status = response.status_code
    response.close()
    site = host(asked)
    if status in PASSING:
        why = "is asked too often" if status == 429 else "has a fault"
        raise TransientError(
            NetworkError(f"{site} {why} (status {status})", hint="wait a little, then run it again"),
            asked_wait_s(response.headers),
        )
    if status in (404, 410):
        raise NotFound(f"{site} has no such file: {asked.partition('?')[0]}", hint="check the name and the revision")
    if status in (401, 403) and origin(response.url or asked) != origin(asked):
        # storage hosts are reached by signed addresses that expire; the next try gets a new one
        raise TransientError(NetworkError(f"{host(response.url)} no longer lets this download in", hint="run it again"))
    if status in (401, 403):
        raise unauthorized(asked, network)
    raise NetworkError(f"{site} answered with status {status}", hint="run it again later")


def unauthorized(url: str, network: Network) -> NetworkError:
    """Word a refusal for want of a token, or for a token that is not good enough, with the way to one."""
    if origin(url) == origin(network.civitai):
        hint = "make a key at https://civitai.com/user/account, then `export CIVITAI_TOKEN=…`"
    elif origin(url) == origin(network.hub):
        hint = "accept the model's terms on its page, then `hf auth login` or `export HF_TOKEN=…`"
    else:
        hint = "download it in a browser, and give the path of what you saved"
    refusal = "does not accept your token for this" if network.token_for(url) else "wants a login for this"
    return NetworkError(f"{host(url)} {refusal}", hint=hint)
