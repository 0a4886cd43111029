"""Serve this folder for the demo: `python demo/web/serve.py`, then open the address it prints.

The headers isolate the page from others, which is what lets ONNX Runtime Web use threads.
"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with the headers that threads in WebAssembly need."""

    extensions_map = {  # noqa: RUF012 - the base class's attribute
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Add the headers to every answer."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        """Quiet: the page says what goes wrong."""


def make_server(port: int) -> ThreadingHTTPServer:
    """A server of this folder on localhost; port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(FOLDER)))


def main() -> None:
    """Serve until Ctrl-C."""
    with make_server(int(sys.argv[1]) if len(sys.argv) > 1 else 8000) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}/\n")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
