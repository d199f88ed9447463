"""A web server of this machine that serves a folder in parts, as object storage does."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any, ClassVar


class Ranges(SimpleHTTPRequestHandler):
    """Serves a folder, in parts or, where `serves_parts` is not set, only as a whole."""

    serves_parts = True
    statuses: ClassVar[list[int]] = []
    """Answers to the next requests for parts, other than the part."""
    delay = 0.0
    """Seconds before a part is sent."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range")
        if not path.is_file() or wanted is None or not self.serves_parts:
            super().do_GET()
            return
        sleep(self.delay)
        if self.statuses:
            self.send_error(self.statuses.pop())
            return
        first, last = (int(word) for word in wanted.removeprefix("bytes=").split("-"))
        with path.open("rb") as file:
            file.seek(first)
            content = file.read(last + 1 - first)
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/*")
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder; give its address."""

    def handler(*args: Any) -> Ranges:
        return Ranges(*args, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
