"""A job server for tests: answers as Ray's does and executes jobs on this machine, as many at once as it is told."""

import json
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path

from answering import Handler


class JobServer:
    """``address`` is its own; ``jobs`` is {id: {"asked", "process", "status", "message"}}."""

    def __init__(self, room=8):
        self.room, self.jobs, self._lock = room, {}, threading.Lock()
        server = self

        class Answering(Handler):
            def do_GET(self):
                with server._lock:
                    server._proceed()
                    job = server.jobs.get(self.path.removeprefix("/api/jobs/"))
                if job is None:
                    return self._say(404, "no such job")
                return self._say(200, {"status": job["status"], "message": job["message"]})

            def do_POST(self):
                data = self.body()
                with server._lock:
                    if self.path.endswith("/stop"):
                        server._stop(self.path.split("/")[3])
                        return self._say(200, {"stopped": True})
                    asked = json.loads(data)
                    if asked["submission_id"] in server.jobs:
                        return self._say(500, "Trace\nRuntimeError: Job with submission_id already exists.")
                    job = {"asked": asked, "process": None, "status": "PENDING", "message": "waiting"}
                    server.jobs[asked["submission_id"]] = job
                    server._proceed()
                return self._say(200, {"submission_id": asked["submission_id"]})

            def _say(self, code, data):
                body = (data if isinstance(data, str) else json.dumps(data)).encode()
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def fail(self, job, message):
        """What becomes of a job with its node, or of one that found no room."""
        with self._lock:
            self._end(job, "FAILED", message)

    def close(self):
        """It does not answer any more; its jobs go on."""
        self._http.shutdown()
        self._http.server_close()

    def end_all(self):
        for job in self.jobs:
            self._end(job, "FAILED", "over")

    def _proceed(self):
        running = 0
        for job in self.jobs.values():
            if job["status"] == "RUNNING" and (code := job["process"].poll()) is not None:
                job["status"] = "FAILED" if code else "SUCCEEDED"
                job["message"] = (
                    f"Job entrypoint command failed with exit code {code}, {_said(job)}" if code else ""
                )
            running += job["status"] == "RUNNING"
        for job in self.jobs.values():
            if job["status"] == "PENDING" and running < self.room:
                environment = {"PATH": os.environ["PATH"], **job["asked"]["runtime_env"]["env_vars"]}
                with tempfile.NamedTemporaryFile(prefix="job-", delete=False) as out:
                    job["out"] = Path(out.name)
                    job["process"] = subprocess.Popen(
                        job["asked"]["entrypoint"],
                        shell=True,
                        start_new_session=True,
                        env=environment,
                        stdout=out,
                        stderr=out,
                    )
                job["status"], running = "RUNNING", running + 1

    def _stop(self, job):
        self._end(job, "STOPPED", "stopped")

    def _end(self, job, status, message):
        job = self.jobs[job]
        if job["process"] is not None:
            with suppress(ProcessLookupError):
                os.killpg(job["process"].pid, signal.SIGKILL)
            job["process"].wait()
            job["out"].unlink(missing_ok=True)
        if job["status"] in ("PENDING", "RUNNING"):
            job.update(status=status, message=message)


def _said(job):
    text = job["out"].read_text("utf-8", "replace")
    job["out"].unlink()
    return "last available logs (truncated to 20,000 chars):\n" + text[-20_000:]
