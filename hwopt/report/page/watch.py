"""Local server of the page of running studies, which reloads when a study changes.

    GET /          the page
    GET /version   text that changes when a study changes

The server listens on 127.0.0.1 only, and answers only requests with this host name, so that no page of
another origin can read a study through the browser (DNS rebinding).
"""

import sys
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError, InvalidInput
from hwopt.report.analysis.study_data import StudyData, read_studies
from hwopt.report.page.content import Networks
from hwopt.report.page.render import render

HOST = "127.0.0.1"


class PageServer(ThreadingHTTPServer):
    """Server of one page.

    Args:
        paths: paths of the studies.
        port: port; 0 takes a free one.
        networks: function that returns the layers of a study's networks.

    Raises:
        InvalidInput: for a port that is taken.
        StudyError: for a file that is not a study.
    """

    daemon_threads = True

    def __init__(self, paths: Sequence[Path], port: int, networks: Callable[[StudyData], Networks]) -> None:
        self._paths, self._networks = list(paths), networks
        self._turn = threading.Lock()
        self._rendered: tuple[str, str] = ("", "")  # version and page
        self._layers: dict[Path, tuple[set[int], Networks]] = {}  # with the numbers of their front
        read_studies(self._paths)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InvalidInput(
                f"port {port} cannot be listened on: {error.strerror}; choose another --port"
            ) from None

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    @property
    def hosts(self) -> set[str]:
        """Accepted host names of requests."""
        return {f"{name}:{self.server_address[1]}" for name in (HOST, "localhost")}

    def version(self) -> str:
        """Return a text of the sizes and times of the studies' files and journals."""
        files = [path.with_name(path.name + end) for path in self._paths for end in ("", "-wal")]
        marks = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
        return "-".join(f"{size:x}.{time:x}" for size, time in marks)

    def page(self) -> str:
        """Return the page of the current studies."""
        with self._turn:
            version = self.version()
            if self._rendered[0] != version:
                studies = read_studies(self._paths)
                page = render(studies, [self._networks_of(study) for study in studies], version)
                self._rendered = (version, page)
            return self._rendered[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error of a request, except a lost connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def _networks_of(self, study: StudyData) -> Networks:
        """Return the layers of a study's networks, predicted again after a change of its front."""
        front = study.front_numbers
        if study.path not in self._layers or self._layers[study.path][0] != front:
            self._layers[study.path] = (front, self._networks(study))
        return self._layers[study.path][1]


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "hwopt"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the page or its version."""
        if self.headers.get("Host") not in self.server.hosts:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this page is served to this machine only")
        elif self.path == "/version":
            self._answer(HTTPStatus.OK, "text/plain", self.server.version())
        elif self.path == "/":
            self._page()
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "not found; the page is /")

    def _page(self) -> None:
        try:
            self._answer(HTTPStatus.OK, "text/html", self.server.page())
        except HwoptError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error))

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Disable the log of requests."""
