"""A Hub in small: HTTP as ``huggingface_hub`` speaks it, as far as a Space is made or renewed by it."""

import base64
import contextlib
import json
import re
import urllib.parse

from answering import Handler, answering


class Hub:
    """What it holds, and whom it lets in.

    Attributes:
        people: token to what it tells of its owner.
        spaces: name to its files, path to bytes.
        settings: name of a Space to {"variables": ..., "secrets": ..., and what else it was told}.
        broken: a status that every request gets, or None.
        picky: whether it takes no grey in front matter.
        url: of the Hub.
    """

    def __init__(self):
        self.people = {"write": person("ann", "write", "museum"), "read": person("ann", "read")}
        self.spaces, self.settings, self.buckets = {}, {}, {}
        self.broken, self.picky = None, False
        self.requests = []

    def answer(self, method, path, token, body):
        """(status, headers, what is sent as JSON)."""
        path = urllib.parse.urlsplit(path).path
        self.requests.append(f"{method} {path}")
        if self.broken:
            return self.broken, {}, {"error": "Not now."}
        if token not in self.people:
            return 401, {}, {"error": "Invalid credentials"}
        if path == "/api/whoami-v2":
            return 200, {}, self.people[token]
        if path == "/api/validate-yaml":  # asked about README before a commit
            errors = (
                [{"message": '"colorTo" is no color'}]
                if "colorTo: gray" in body["content"] and self.picky
                else []
            )
            return 400 if errors else 200, {}, {"errors": errors, "warnings": []}
        if path == "/api/repos/create":
            name = f"{body['organization']}/{body['name']}"
            listed = {
                key: {one["key"]: one["value"] for one in body.pop(key, [])}
                for key in ("variables", "secrets")
            }
            self.spaces[name], self.settings[name] = {"README.md": b""}, {**body, **listed}
            return 200, {}, {"url": f"{self.url}/spaces/{name}"}
        if found := re.fullmatch(r"/api/buckets/([\w-]+/[\w-]+)", path):
            self.buckets[found[1]] = body
            return 200, {}, {"url": f"{self.url}/buckets/{found[1]}", "id": found[1]}
        name, rest = re.fullmatch(r"/api/spaces/([\w-]+/[\w-]+)(.*)", path).groups()
        if name not in self.spaces:
            return 404, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"}
        return self._of_space(self.spaces[name], self.settings[name], method, rest, body)

    def _of_space(self, files, settings, method, rest, body):
        kind = rest.strip("/").split("/")[0]
        if rest == "":
            return 200, {}, {"id": "x/y", "siblings": [{"rfilename": path} for path in files]}
        if kind == "tree":
            return 200, {}, [{"type": "file", "path": p, "size": 1, "oid": "0"} for p in files]
        if kind in ("variables", "secrets") and method == "GET":
            return 200, {}, {name: {"key": name} for name in settings[kind]}
        if kind in ("variables", "secrets"):
            if method == "DELETE":
                del settings[kind][body["key"]]
            else:
                settings[kind][body["key"]] = body["value"]
            return 200, {}, {name: {"key": name, "value": value} for name, value in settings[kind].items()}
        if kind == "runtime":
            hardware = {"current": None, "requested": settings.get("hardware")}
            return 200, {}, {"stage": "RUNNING", "hardware": hardware, "gcTimeout": None}
        if kind == "hardware":
            settings["hardware"] = body["flavor"]
            return self._of_space(files, settings, "GET", "/runtime", None)
        if kind == "settings":
            settings.update(body)
            return 200, {}, {}
        if kind == "volumes":
            settings["volumes"] = body["volumes"]
            return 200, {}, {}
        if kind == "preupload":
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return 200, {}, {"files": [{"path": file["path"], **modes} for file in body["files"]]}
        if kind == "commit":
            for line in body:
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del files[line["value"]["path"]]
            told = {"commitUrl": f"{self.url}/spaces/x/y/commit/0", "commitOid": "0", "success": True}
            return 200, {}, told
        return 404, {}, {"error": rest}


def person(name, role, *organisations):
    """What ``whoami`` tells of the owner of a token."""
    orgs = [{"name": one} for one in organisations]
    return {"type": "user", "name": name, "orgs": orgs, "auth": {"accessToken": {"role": role}}}


@contextlib.contextmanager
def served_hub():
    """A Hub that answers at its ``url``."""
    hub = Hub()

    class Answering(Handler):
        def _answer(self):
            text = self.body()
            if "ndjson" in self.headers.get("Content-Type", ""):
                body = [json.loads(line) for line in text.splitlines()]
            else:
                body = json.loads(text) if text else None
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, headers, told = hub.answer(self.command, self.path, token, body)
            self.tell(told, status, **headers)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

    with answering(Answering) as (hub.url, _):
        yield hub
