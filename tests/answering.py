"""Small HTTP servers on this machine, for tests."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """To be given ``do_GET`` and the like."""

    def body(self):
        """What came with the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def tell(self, data, status=200, **headers):
        """Answer with plain data as JSON."""
        sent = json.dumps(data).encode()
        self.send_response(status)
        headers = {"Content_Type": "application/json", "Content_Length": len(sent), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def answering(handler):
    """Yields (the address of a server whose requests a ``Handler`` answers, the server)."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server
        finally:
            server.shutdown()
            thread.join()
