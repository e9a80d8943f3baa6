"""Somebody who calls the running page as a browser does, with a cookie or without; and the events it can fire."""

import http.client
import itertools
import json
import urllib.parse
from dataclasses import dataclass

from segdemo.ui.visitors import COOKIE

SESSIONS = itertools.count()


@dataclass
class Browser:
    """Somebody who calls the page, with a cookie or without."""

    url: str
    cookie: str = ""

    def ask(self, method, path, body=None, kind="application/json"):
        """(status, body) of a request."""
        place = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
        headers = {"Content-Type": kind} | ({"Cookie": self.cookie} if self.cookie else {})
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path):
        return self.ask("GET", path)

    def event(self, number, values, event_data=None, session=None):
        """Everything that the page is told of an event, as one text."""
        session = session or f"session-of-somebody-{next(SESSIONS)}"
        asked = {"data": values, "fn_index": number, "session_hash": session, "event_data": event_data}
        status, answer = self.ask("POST", "/gradio_api/queue/join", asked)
        if status != 200:
            return answer.decode()
        return self._stream(f"/gradio_api/queue/data?session_hash={session}", b"process_completed")

    def _stream(self, path, last):
        place = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
        told = []
        try:
            connection.request("GET", path, headers={"Cookie": self.cookie} if self.cookie else {})
            answer = connection.getresponse()
            for line in answer:
                told.append(line)
                if last in line:
                    break
            return b"".join(told).decode()
        finally:
            connection.close()

    def call(self, name, *values):
        """What an endpoint of the HTTP API answers, as one text."""
        status, answer = self.ask("POST", f"/gradio_api/call/{name}", {"data": values})
        assert status == 200, answer
        return self._stream(f"/gradio_api/call/{name}/{json.loads(answer)['event_id']}", b"\0nothing")

    def function(self, component, name, data):
        """What a function of a component answers."""
        session = f"session-of-somebody-{next(SESSIONS)}"
        asked = {"session_hash": session, "component_id": component, "fn_name": name, "data": data}
        status, answer = self.ask("POST", "/gradio_api/component_server", asked)
        return json.loads(answer) if status == 200 else {"status": status}

    def upload(self, data):
        """The path of an uploaded file."""
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        kind = "multipart/form-data; boundary=x"
        status, answer = self.ask("POST", "/gradio_api/upload", head + data + b"\r\n--x--\r\n", kind)
        assert status == 200, answer
        return json.loads(answer)[0]


def new_browser(url):
    """Somebody who opens the page with an empty browser."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    [cookie] = [v for n, v in answer.getheaders() if n == "set-cookie" and v.startswith(COOKIE)]
    connection.close()
    return Browser(url, cookie.partition(";")[0])


def events(config):
    # The webcam's waits for further frames.
    return [e for e in config["dependencies"] if e["backend_fn"] and e["connection"] != "stream"]


def number_of(config, elem_id, trigger):
    """The event that a component's trigger fires."""
    [component] = [c["id"] for c in config["components"] if c["props"].get("elem_id") == elem_id]
    return next(e for e in events(config) if [component, trigger] in map(list, e["targets"]))


# Names of all functions that components call on the server: a new one has to be tried by whoever walks through them.
SERVER_FUNCTIONS = {"save_mask", "import_mask", "select_thing", "teach_features", "teach_strokes"}


def server_functions(config):
    """(id of the component, name) of each function that a component of the page calls on the server."""
    return [
        (part["id"], name)
        for part in config["components"]
        for name in part["props"].get("server_fns") or part.get("server_fns") or []
    ]
