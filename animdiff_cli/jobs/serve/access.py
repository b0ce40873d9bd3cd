"""Who may use the server: the token, and browsers that a page of another site has sent.

A page on the internet can make a browser on this machine send requests to a loopback address. It cannot read a reply of
another origin, unless its own name is made to point to this machine (DNS rebinding). So the `Host` header must name
this server, and what browsers send for other sites is refused.
"""

import hmac
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
#: says nothing about jobs, and is for programs that watch the server
OPEN_PATHS = frozenset(("/health",))
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class AccessGuard:
    """Refuse requests without the token, for another host, or of another site. Adds headers to every response."""

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Iterable[str] | None) -> None:
        """Guard `app`. `hosts` are the names that `Host` may have; None allows all, which needs a token."""
        self._app, self._token = app, token
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error as JSON."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(Headers(scope=scope), scope["path"])
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await _answer(send_with_headers, *refusal)

    def _refusal(self, headers: Headers, path: str) -> tuple[int, str, str] | None:
        """Return status, message and hint for a request that is refused; None for one that is not."""
        host = headers.get("host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            return 421, "this server does not answer to that `Host`", "use the URL that `animdiff serve` has printed"
        origin = headers.get("origin")
        if (origin is not None and urlsplit(origin).netloc.lower() != host.lower()) or headers.get(
            "sec-fetch-site", "none"
        ) not in ("none", "same-origin"):
            return 403, "requests of other sites are refused", "send the request from a program, not from a page"
        if self._token is None or path in OPEN_PATHS or self._has_token(headers):
            return None
        return 401, "the access token is missing or wrong", "send `Authorization: Bearer TOKEN`"

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        assert self._token is not None
        is_equal = hmac.compare_digest(given.strip().encode(), self._token.encode())
        return is_equal and scheme.lower() == "bearer"


async def _answer(send: Send, status: int, message: str, hint: str) -> None:
    body = json.dumps({"error": message, "hint": hint, "code": 4}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _host_name(host: str) -> str:
    """Return the name in a `Host` header, without port and brackets; empty if it is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
