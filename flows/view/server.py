"""The server of the page: on this machine alone, for who knows its address, and only for reading."""

from __future__ import annotations

import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tilewright.flows.view.answers import NoAnswerError, PageAnswer
from tilewright.flows.view.files import ViewError

if TYPE_CHECKING:
    from tilewright.flows.view.answers import PageAnswers

HOST = "127.0.0.1"

NAMES = (HOST, "localhost")
"""Host names by which a browser on this machine may ask: any other is a name that somebody else made lead here."""

HEADERS = {
    # Nothing but the page's own files: no script within it, none of others, no request elsewhere, in no frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # A product may be made anew while it is looked at.
    "Cache-Control": "no-store",
}

IDLE_SECONDS = 30

LONGEST_PATH = 500


class ViewServer(ThreadingHTTPServer):
    """A server at ``address``, which holds a key that no one else knows: other users of the machine cannot ask."""

    daemon_threads = True

    def __init__(self, answers: PageAnswers, *, port: int = 0) -> None:
        """Listen at a port, 0 for a free one. Raises OSError where it is taken."""
        self.answers = answers
        self.key = secrets.token_urlsafe(12)
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """The URL of the page."""
        return f"http://{HOST}:{self.server_port}/{self.key}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that hangs up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tilewright", ""
    timeout = IDLE_SECONDS
    # Headers and body are two writes: Nagle's algorithm would hold the second back.
    disable_nagle_algorithm = True
    server: ViewServer

    def do_GET(self) -> None:
        if not self._is_ours():
            self._send(403, _words("This page is for a browser on this machine."))
            return
        path, _, query = self.path.partition("?")
        before = f"/{self.server.key}/"
        if len(self.path) > LONGEST_PATH or not secrets.compare_digest(
            path[: len(before)].encode("latin-1", "replace"), before.encode()
        ):
            self._send(404, _words("There is no such page: take the whole address that the command printed."))
            return
        try:
            answer = self.server.answers.of(path[len(before) :], query)
        except NoAnswerError:
            self._send(404, _words("There is no such page."))
        except ViewError as error:
            self._send(422, _words(f"It cannot be shown: {error}."))
        except Exception as error:
            # Whatever a file of others brings about, the page goes on.
            self._send(500, _words(f"An error that was not foreseen ({type(error).__name__})."))
        else:
            self._send(200, answer)

    def _refuse(self) -> None:
        self.close_connection = True
        self._send(405, _words("Only GET is answered."), Allow="GET")

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815

    def _is_ours(self) -> bool:
        """True for a request that names this machine as its host, and does not come from a page of somebody else."""
        hosts = self.headers.get_all("Host") or []
        ours = {f"{name}:{self.server.server_port}" for name in NAMES}
        origins = self.headers.get_all("Origin") or []
        return (
            len(hosts) == 1
            and hosts[0] in ours
            and all(each in {f"http://{host}" for host in ours} for each in origins)
        )

    def _send(self, status: int, answer: PageAnswer, **more: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.media)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""


def _words(words: str) -> PageAnswer:
    return PageAnswer(body=words.encode(), media="text/plain; charset=utf-8")
