"""A hub of models on a loopback port, as far as the Hugging Face hub's own client asks it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_0123456789"


class FakeHub(ThreadingHTTPServer):
    """Repositories as lists of commits, each with all of its files; ``log``: what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.private: dict[str, bool] = {}
        self.log: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, name: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a revision; None: there is none."""
        for sha, files in reversed(self.commits[name]):
            if revision in ("main", sha):
                return sha, files
        return None

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        """Add a commit that holds exactly these files."""
        before = self.commits.setdefault(name, [])
        sha = hashlib.sha1(f"{name} {len(before)}".encode()).hexdigest()
        before.append((sha, files))
        return sha


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: object = b"", **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def fault(self, status: int, code: str) -> None:
        self.answer(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def handle_one(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append(f"{self.command} {path}")
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if path.endswith("/api/whoami-v2"):
            return self.answer(200, {"name": "user", "type": "user", "orgs": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        found = re.fullmatch(r"(/api/models)?/([\w.-]+/[\w.-]+)(?:/(\w+)/([^/]+))?(?:/(.*))?", path)
        if found is None:
            return self.fault(404, "RepoNotFound")
        _, name, verb, revision, rest = found.groups()
        held = self.server.commits.get(name)
        if held is None or (self.server.private.get(name) and not self.is_allowed()):
            return self.fault(401, "RepoNotFound")
        if verb in (None, "revision", "tree", "resolve"):
            version = self.server.files(name, revision or "main")
            if version is None:
                return self.fault(404, "RevisionNotFound")
            return self.read(name, verb, *version, rest)
        if not self.is_allowed():
            return self.fault(403, "Forbidden")
        if verb == "preupload":
            asked = json.loads(body)["files"]
            told = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in asked
            ]
            return self.answer(200, {"files": told})
        assert verb == "commit", path
        return self.write(name, body)

    do_GET = do_POST = do_HEAD = do_PUT = handle_one

    def is_allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def create(self, asked: dict) -> None:
        if not self.is_allowed():
            return self.fault(401, "Unauthorized")
        name = asked["name"] if "/" in asked["name"] else f"{asked['organization']}/{asked['name']}"
        if name in self.server.commits:
            return self.answer(409, {"url": f"{self.server.address}/{name}"})
        self.server.private[name] = bool(
            asked.get("private") or asked.get("visibility") == "private"
        )
        self.server.commit(name, {".gitattributes": b""})
        return self.answer(200, {"url": f"{self.server.address}/{name}"})

    def read(self, name: str, verb: str | None, sha: str, files: dict, rest: str | None) -> None:
        if verb == "resolve":
            if rest not in files:
                return self.fault(404, "EntryNotFound")
            etag = hashlib.sha1(files[rest]).hexdigest()
            return self.answer(200, files[rest], ETag=f'"{etag}"', X_Repo_Commit=sha)
        if verb == "tree":
            return self.answer(
                200,
                [
                    {
                        "type": "file", "path": path, "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for path, content in files.items()
                ],
            )  # fmt: skip
        siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
        return self.answer(
            200, {"id": name, "modelId": name, "sha": sha, "tags": [], "siblings": siblings}
        )

    def write(self, name: str, body: bytes) -> None:
        files = dict(self.server.commits[name][-1][1])
        for line in body.splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "deletedFile":
                del files[value["path"]]
            else:
                assert part["key"] == "header"
        sha = self.server.commit(name, files)
        self.answer(200, {"commitUrl": f"{self.server.address}/{name}/commit/{sha}",
                          "commitOid": sha, "success": True, "hookOutput": ""})  # fmt: skip


@contextmanager
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running hub that the environment names."""
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
