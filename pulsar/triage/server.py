"""The server of `pulsar view`: of this machine only, and only for who has the link.

Any page in the same browser may send requests to a server on the loopback address, and a name that its owner points
there (DNS rebinding) makes it the same origin. So the link holds a random token; the header Host has to be the address
itself; a judgement has to come from a page of this server, as JSON; everything else is refused.
"""

import hmac
import http
import re
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from pulsar.data.validated import strict_json
from pulsar.errors import ConfigError, PulsarError
from pulsar.triage.site import Site, as_json

ADDRESS: Final = "127.0.0.1"
#: Bytes of a judgement at most: ten times the longest note.
MOST_BODY: Final = 1 << 16
#: Fields of a query: the page asks with one.
MOST_FIELDS: Final = 4
#: Seconds after which a connection on which nothing comes is closed.
PATIENCE: Final = 30.0
_KINDS: Final = {"html": "text/html; charset=utf-8", "json": "application/json", "png": "image/png"}
#: What every answer tells the browser.
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: What a browser may do with anything but the page, whose own policy is stricter than nothing and stands in it.
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Server(ThreadingHTTPServer):
    """Serves a page on the loopback address.

    Parameters
    ----------
    port : int
        0: any that is free.

    Raises
    ------
    ConfigError
        The port is taken, or not to be had.
    """

    daemon_threads = True
    # Another server of this user on the same port would be met by old links.
    allow_reuse_address = False

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = site
        self.token = secrets.token_urlsafe(24)
        self._once, self._using = "", threading.Lock()
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"port {port} of {ADDRESS} cannot be used: {reason}; give another --port") from error
        self.hosts = tuple(f"{name}:{self.server_port}" for name in (ADDRESS, "localhost"))

    @property
    def link(self) -> str:
        """The address of the page, with its token."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def once(self) -> str:
        """An address that leads to the page once: it stands in the list of processes, where all users may see it."""
        self._once = secrets.token_urlsafe(24)
        return f"http://{ADDRESS}:{self.server_port}/{self._once}/"

    def used(self, token: str) -> bool:
        """True if this was the token of that address; it is used up."""
        with self._using:
            right = bool(self._once) and hmac.compare_digest(token.encode(), self._once.encode())
            if right:
                self._once = ""
            return right

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no fault."""


class Refused(Exception):
    """A request that is not answered.

    Parameters
    ----------
    message : str
        Why.
    to : str
        Where it is answered instead.
    """

    def __init__(self, status: http.HTTPStatus, message: str, to: str = "") -> None:
        super().__init__(message)
        self.status, self.to = status, to


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "pulsar"
    sys_version = ""
    timeout = PATIENCE
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: the link would stand in it."""

    def do_GET(self) -> None:
        """Answer a request for the page, a sheet or the judgements; HEAD without the content."""
        self._answer(self._shown)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Keep a judgement."""
        self._answer(self._kept)

    def _other(self) -> None:
        def refuse(_path: str, _query: dict[str, list[str]]) -> tuple[str, bytes]:
            raise Refused(http.HTTPStatus.METHOD_NOT_ALLOWED, "this method is not answered")

        self._answer(refuse)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other

    def _answer(self, ask: Any) -> None:
        try:
            kind, content = ask(*self._checked())
        except Refused as refusal:
            # What follows on this connection was not read.
            self.close_connection = True
            self._send(refusal.status, "json", as_json({"error": str(refusal)}), refusal.to)
        except ConfigError as error:
            self._send(http.HTTPStatus.BAD_REQUEST, "json", as_json({"error": str(error)}))
        except PulsarError as error:
            self._send(http.HTTPStatus.INSUFFICIENT_STORAGE, "json", as_json({"error": str(error)}))
        else:
            self._send(http.HTTPStatus.OK, kind, content)

    def _checked(self) -> tuple[str, dict[str, list[str]]]:
        """Path below the token and query of a request that may be answered."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.server.hosts:
            raise Refused(http.HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own address only")
        origins = self.headers.get_all("Origin", [])
        own_origins = tuple(f"http://{host}" for host in self.server.hosts)
        if len(origins) > 1 or any(origin not in own_origins for origin in origins):
            raise Refused(http.HTTPStatus.FORBIDDEN, "requests of other pages are not answered")
        # A link may be followed from elsewhere; nothing else may.
        followed = self.command == "GET" and self.headers.get("Sec-Fetch-Dest") == "document"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not followed:
            raise Refused(http.HTTPStatus.FORBIDDEN, "requests of other pages are not answered")
        if not self.path.startswith("/"):
            raise Refused(http.HTTPStatus.BAD_REQUEST, "this address is not understood")
        parts = urlsplit(self.path)
        _, token, *rest = parts.path.split("/", 2)
        if self.command == "GET" and rest == [""] and self.server.used(token):
            raise Refused(http.HTTPStatus.SEE_OTHER, "see there", f"/{self.server.token}/")
        if not rest or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(http.HTTPStatus.NOT_FOUND, "no such page: use the link that `pulsar view` has printed")
        try:
            return rest[0], parse_qs(parts.query, max_num_fields=MOST_FIELDS)
        except ValueError as error:
            message = f"a query has {MOST_FIELDS} fields at most"
            raise Refused(http.HTTPStatus.BAD_REQUEST, message) from error

    def _shown(self, path: str, query: dict[str, list[str]]) -> tuple[str, bytes]:
        content = self.server.site.shown(path, query)
        if content is None:
            raise Refused(http.HTTPStatus.NOT_FOUND, "nothing is there")
        return content

    def _kept(self, path: str, _query: dict[str, list[str]]) -> tuple[str, bytes]:
        if path != "labels":
            raise Refused(http.HTTPStatus.METHOD_NOT_ALLOWED, "this method is not answered here")
        if not self.headers.get("Origin"):
            raise Refused(http.HTTPStatus.FORBIDDEN, "judgements come from the page only")
        if self.headers.get_content_type() != "application/json":
            raise Refused(http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a judgement is JSON")
        length = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(length) != 1 or not re.fullmatch(r"[0-9]{1,9}", length[0]):
            raise Refused(http.HTTPStatus.LENGTH_REQUIRED, "the length of a judgement has to be told")
        if int(length[0]) > MOST_BODY:
            raise Refused(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a judgement has {MOST_BODY} bytes at most")
        try:
            content = strict_json(self.rfile.read(int(length[0])))
        except ValueError as error:
            raise Refused(http.HTTPStatus.BAD_REQUEST, "this is no JSON") from error
        if not isinstance(content, dict):
            raise Refused(http.HTTPStatus.BAD_REQUEST, "a judgement is a JSON object")
        return "json", as_json(self.server.site.keep(content))

    def _send(self, status: http.HTTPStatus, kind: str, content: bytes, to: str = "") -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", _KINDS[kind])
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'" if kind == "html" else _NOTHING)
        if to:
            self.send_header("Location", to)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
