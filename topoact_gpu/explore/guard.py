"""The gate before the server: who may ask, how much, and what every answer carries.

The server answers this machine only, but so may any page in the browser ask it. Hence a secret in
the address, a check of the host that the browser believes it asks (a foreign name may be made to
point here), and of where a request that changes something comes from.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from .tables import to_json

__all__ = ["FAILED", "MAX_BODY_BYTES", "Guard"]

MAX_BODY_BYTES = 4_000_000
SAME_MACHINE = "http://127.0.0.1:* http://localhost:*"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; worker-src 'self' blob:; font-src 'self'; "
    f"base-uri 'none'; form-action 'none'; frame-ancestors 'self' {SAME_MACHINE}"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
HOSTS = ("127.0.0.1", "localhost", "[::1]")
READING = ("GET", "HEAD")
FAILED = "the explorer failed on this; its terminal says why"

_Scope = dict[str, Any]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class Guard:
    """Lets through to ``app`` what has the token and comes from here; an ASGI application.

    Parameters
    ----------
    app : ASGI application
        Sees addresses without the token.
    token : str
        First part of every address.
    """

    def __init__(self, app: _App, token: str) -> None:
        self.app = app
        self.token = token.encode()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send, no_store="/api/" in scope["path"])
        fault = self._fault(scope)
        if fault is not None:
            await answer.refuse(*fault)
            return
        body = await _read_body(scope, receive)
        if body is None:
            await answer.refuse(413, f"a body may have {MAX_BODY_BYTES:,} bytes; send less")
            return
        await self._pass_on(scope, _replay(body, receive), answer)

    async def _pass_on(self, scope: _Scope, receive: _Receive, answer: _Answer) -> None:
        _, _, path = scope["path"][1:].partition("/")
        if scope["path"].count("/") == 1:  # addresses inside the page are relative to its folder
            await answer.redirect(scope["path"] + "/")
            return
        inner = {**scope, "path": f"/{path}", "raw_path": f"/{path}".encode()}
        try:
            await self.app(inner, receive, answer.send)
        except Exception:  # one request fails, the server goes on
            logging.getLogger("topoact_gpu.explore").exception("%s failed", inner["path"])
            await answer.refuse(500, FAILED)

    def _fault(self, scope: _Scope) -> tuple[int, str] | None:
        """Status and reason of a refusal, or None."""
        headers = _headers(scope)
        port = (scope.get("server") or ("", None))[1]
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in {f"{name}:{port}" for name in HOSTS}:
            return 400, (
                f"the host must be {HOSTS[0]}:{port}, not {host[:80]!r}; "
                "open the address that was printed, through the same port"
            )
        first = scope["path"][1:].partition("/")[0].encode("utf-8", "replace")
        if not hmac.compare_digest(first, self.token):
            return 404, "there is nothing here; open the address that was printed, in full"
        return None if scope["method"] in READING else _foreign(headers, host)


def _foreign(headers: dict[bytes, bytes], host: str) -> tuple[int, str] | None:
    """Refuse what another page sends: browsers say where a request comes from."""
    origin = headers.get(b"origin")
    site = headers.get(b"sec-fetch-site", b"same-origin")
    if (origin is not None and origin != f"http://{host}".encode()) or site != b"same-origin":
        return 403, "another page may not ask for this; use the explorer's own"
    return None


def _headers(scope: _Scope) -> dict[bytes, bytes]:
    """Headers by name; one that comes twice is taken for neither."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found[name.lower()] = b"" if name.lower() in found else value
    return found


async def _read_body(scope: _Scope, receive: _Receive) -> bytes | None:
    """The body; None if it is too large."""
    length = _headers(scope).get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > MAX_BODY_BYTES:
        return None
    if scope["method"] in READING:
        return b""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: _Receive) -> _Receive:
    """Give the body that was read, then whatever else comes."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> dict[str, Any]:
        return left.pop() if left else await receive()

    return replay


class _Answer:
    """Sends an answer, with the headers that every answer carries."""

    def __init__(self, send: _Send, *, no_store: bool) -> None:
        self._send, self._no_store, self._started = send, no_store, False

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            own = dict(HEADERS)
            own[b"cache-control"] = b"no-store" if self._no_store else b"no-cache"
            kept = [(n, v) for n, v in message.get("headers", []) if n.lower() not in own]
            message = {**message, "headers": [*kept, *own.items()]}
        await self._send(message)

    async def refuse(self, status: int, reason: str) -> None:
        """Answer with an error, unless an answer has begun."""
        if not self._started:
            await self._whole(
                status, to_json({"error": reason}), [(b"content-type", b"application/json")]
            )

    async def redirect(self, path: str) -> None:
        await self._whole(307, b"", [(b"location", path.encode("utf-8", "replace"))])

    async def _whole(self, status: int, body: bytes, headers: Iterable[Any]) -> None:
        length = (b"content-length", str(len(body)).encode())
        start = {"type": "http.response.start", "status": status, "headers": [*headers, length]}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})
