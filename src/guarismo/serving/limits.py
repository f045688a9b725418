"""Who may ask, how much, and how slowly: ASGI middleware in front of every path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from secrets import compare_digest
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guarismo.serving.problems import Problem, busy
from guarismo.serving.settings import ServeSettings

JSON_BYTES = 4 * 2**20
"""The largest body: 1,024 images as JSON. Parsed JSON may take 20 times its bytes in memory."""
PHOTO_BYTES = 32 * 2**20
LARGER = {"/v1/read": PHOTO_BYTES}
MOST_HELD = 256 * 2**20
"""Bytes of all the bodies that are being received or worked on."""
DRAINED = 32 * 2**20
DRAINING = 2.0
"""Bytes and seconds for which the rest of a body that is too large is read and thrown away: a client that still sends
when its connection is closed does not see the answer."""
COOKIE = "guarismo_token"
SAFE = {"GET", "HEAD", "OPTIONS"}
OPEN = {"/v2/health/live", "/v2/health/ready"}
"""Paths that need no token: they tell nothing but that somebody is there."""
HERE = {"localhost", "127.0.0.1", "[::1]"}
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Of every answer that does not set them otherwise. No CORS header: other pages get nothing to read."""
CLOSE = {"Connection": "close"}
Headers = dict[bytes, bytes]


class Shielded:
    """Middleware: the browser's own protections, switched on in every answer."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self.headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in self.headers if pair[0] not in given)]
            await send(message)

        await self.app(scope, receive, shielded)


class Door:
    """Middleware: lets in who may ask. `stopping()` tells that no new work is taken."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, stopping: Callable[[], bool]):
        self.app, self.stopping = app, stopping
        self.token = settings.token
        self.hosts = HERE | {settings.host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.stopping():
            problem = busy("The server is stopping.")
            problem.headers.update(CLOSE)
            raise problem
        headers: Headers = dict(scope["headers"])
        self.check_host(headers)
        check_origin(scope["method"], headers)
        if not self.token or scope["path"] in OPEN or self.knows(headers):
            await self.app(scope, receive, send)
        elif self.knocks(scope):
            await self.welcome()(scope, receive, send)
        else:
            raise Problem(
                401,
                "Token needed",
                "Send the header `Authorization: Bearer TOKEN`; in a browser, open the page once as /?token=TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )

    def check_host(self, headers: Headers) -> None:
        """Without a token, only requests that name this machine: a stranger's name may be bent to our address.

        Raises Problem 421.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self.token and without_port(host) not in self.hosts:
            raise Problem(
                421,
                "Another host",
                f"Expected a Host of {', '.join(sorted(self.hosts))}, received '{host}'. Serve with --token.",
            )

    def knows(self, headers: Headers) -> bool:
        """Whether the request carries the token, as bearer or as the page's cookie."""
        kind, _, word = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and self.matches(word.strip()):
            return True
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return False
        return COOKIE in cookies and self.matches(cookies[COOKIE].value.encode())

    def matches(self, word: bytes) -> bool:
        return compare_digest(word, self.token.encode())

    def knocks(self, scope: Scope) -> bool:
        """Whether this is the page's address with the token in it."""
        words = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return scope["method"] == "GET" and scope["path"] == "/" and self.matches(words[0].encode())

    def welcome(self) -> RedirectResponse:
        """The page without the token in its address, which would stay in the history and be shared with it."""
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self.token, httponly=True, samesite="lax")
        return answer


def without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def check_origin(method: str, headers: Headers) -> None:
    """Raises Problem 403 where another page's script would change something here."""
    origin = headers.get(b"origin")
    if origin is not None and method not in SAFE and origin.partition(b"://")[2] != headers.get(b"host"):
        raise Problem(
            403,
            "Foreign page",
            f"A page of {origin.decode('latin-1')[:200]} may not send this. Use the page of this server.",
        )


class Bodies:
    """Middleware: counts a body while it is read, whatever Content-Length says, and waits `seconds` for all of it."""

    def __init__(self, app: ASGIApp, seconds: float, most: int = MOST_HELD):
        self.app, self.seconds, self.most = app, seconds, most
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        counted = Counted(scope, receive, self)
        try:
            await self.app(scope, counted, send)
        finally:
            self.held -= counted.held


class Counted:
    """`receive` of one request.

    Raises Problem 413 for a body that is too large, 408 for one that does not come, 503 where all of them are too much.
    """

    def __init__(self, scope: Scope, receive: Receive, bodies: Bodies):
        self.receive, self.bodies, self.seconds = receive, bodies, bodies.seconds
        self.limit = LARGER.get(scope["path"], JSON_BYTES)
        self.headers: Headers = dict(scope["headers"])
        self.received = self.held = 0
        self.deadline = 0.0
        self.complete = False

    async def __call__(self) -> Message:
        if self.complete:  # the wait for the client to go, which may last
            return await self.receive()
        if not self.deadline:
            self.deadline = asyncio.get_running_loop().time() + self.seconds
            await self.check_head()
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self.receive()
        except TimeoutError:
            raise Problem(
                408, "Too slow", f"The body did not come within {self.seconds:g} s. Send it again, or send less.", CLOSE
            ) from None
        await self.count(len(message.get("body", b"")), not message.get("more_body", False))
        return message

    async def count(self, size: int, complete: bool) -> None:
        """Take note of a part of the body. Raises Problem 413 and 503."""
        self.received, self.complete = self.received + size, complete
        if self.received > self.limit:
            await self.drain()
            raise self.too_large()
        if self.bodies.held + size > self.bodies.most:
            await self.drain()
            raise busy("The bodies of other requests take all the memory that there is for them.")
        self.bodies.held, self.held = self.bodies.held + size, self.held + size

    async def check_head(self) -> None:
        """Refuse by coding and stated length already; a client that asked whether to go on need not be waited for."""
        coding = self.headers.get(b"content-encoding", b"identity").decode("latin-1")
        if coding.lower() != "identity":
            raise Problem(
                415, "Compressed", f"Expected a body without Content-Encoding, received '{coding[:40]}'.", CLOSE
            )
        stated = self.headers.get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > self.limit:
            if b"expect" not in self.headers:
                await self.drain()
            raise self.too_large()

    async def drain(self) -> None:
        """Read on for a while and keep nothing."""
        try:
            async with asyncio.timeout(DRAINING):
                while not self.complete and self.received < self.limit + DRAINED:
                    message = await self.receive()
                    self.received += len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)
        except TimeoutError:
            pass

    def too_large(self) -> Problem:
        return Problem(
            413, "Too large", f"This path takes bodies of at most {self.limit >> 20} MiB. Send less at a time.", CLOSE
        )
