"""A fake Hugging Face hub over real HTTP that gives models away: what a repository holds, and its files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

COMMIT = "1234567890" * 4
TOKEN = "hf_of_a_test"


@dataclass
class ModelHub:
    """What it holds: the files of each repository. `private` ones want TOKEN; `gated` ones refuse it too."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, COMMIT: COMMIT})
    asked: list[str] = field(default_factory=list)  # method and path of each request
    broken: int = 0  # of how many files from now on only the half is sent

    def refusal(self, repo: str, revision: str, key: str) -> tuple[int, dict[str, str]] | None:
        """Status and headers of the hub where it does not give what is asked for."""
        if key not in ("", f"Bearer {TOKEN}"):
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
        if repo not in self.files or (repo in self.private and not key):
            return 401, {"X-Error-Code": "RepoNotFound"}
        if repo in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}
        if revision not in self.revisions:
            return 404, {"X-Error-Code": "RevisionNotFound"}
        return None

    def described(self, repo: str, revision: str) -> dict[str, Any]:
        files = [
            {"rfilename": name, "size": len(data), "lfs": {"sha256": sha(data), "size": len(data), "pointerSize": 130}}
            for name, data in self.files[repo].items()
        ]
        return {"id": repo, "sha": self.revisions[revision], "private": False, "siblings": files}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `url` the hub of this process. (The library reads HF_ENDPOINT once, when it is imported.)"""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@contextmanager
def model_hub() -> Iterator[ModelHub]:
    hub = ModelHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            hub.asked.append(f"{self.command} {path}")
            words = path.removeprefix("/api/models/").strip("/").split("/")
            repo, rest = "/".join(words[:2]), words[2:]
            revision = rest[1] if len(rest) > 1 else "main"
            if refusal := hub.refusal(repo, revision, self.headers.get("Authorization", "")):
                self._send(refusal[0], b"{}", refusal[1])
            elif path.startswith("/api/"):
                self._send(200, json.dumps(hub.described(repo, revision)).encode())
            elif (data := hub.files[repo].get("/".join(rest[2:]))) is None:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            else:
                self._file(data, {"X-Repo-Commit": hub.revisions[revision], "ETag": f'"{sha(data)}"'})

        do_HEAD = do_GET

        def _file(self, data: bytes, headers: dict[str, str]) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            if hub.broken and self.command == "GET":
                hub.broken -= 1
                self.close_connection = True
                self._send(200, data[: len(data) // 2], headers, len(data))
            elif start:
                whole = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                self._send(206, data[start:], headers | whole)
            else:
                self._send(200, data, headers)

        def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, size: int = -1) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) if size < 0 else size))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub that holds nothing yet, and an empty cache. Xet, the client's own storage service, a fake has not."""
    import huggingface_hub.constants as constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MATRIX_ALIGN_CACHE", str(tmp_path / "cache"))
    with model_hub() as running:
        use(running.url, monkeypatch)
        yield running


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes the hub away: by the setting, or by a network that is down."""
    import huggingface_hub.constants as constants

    def away(how: str) -> None:
        if how == "HF_HUB_OFFLINE":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        else:
            use("http://127.0.0.1:9", monkeypatch)

    return away
