"""A fake Hugging Face hub over real HTTP. It creates repositories and takes commits, as far as `--push` needs that.

Text files come inside a commit. For other files (Parquet), the client first sends the content to the address that the
LFS protocol gives it.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeHub:
    """The hub's contents. `refuses` is the status and message with which it answers every request, if set."""

    url: str = ""
    private: dict[str, bool] = field(default_factory=dict)  # of each repository
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)  # of LFS, by sha256
    keys: set[str] = field(default_factory=set)
    refuses: tuple[int, str] | None = None

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if self.refuses:
            return self.refuses[0], {"error": self.refuses[1]}
        if method == "PUT" and path.startswith("/store/"):
            self.stored[path.removeprefix("/store/")] = body
            return 200, {}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.url}/store/{wanted['oid']}"}}}
                for wanted in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        kind, _, rest = path.removeprefix("/api/").partition("/")
        name = "/".join(rest.split("/")[:2])
        if kind == "validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if kind != "datasets" or name not in self.files:
            return 404, {"error": "no such repository"}
        if "/preupload/" in path:
            asked = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            return 200, {
                "files": [
                    {"path": one, "uploadMode": modes[one.endswith(".parquet")], "shouldIgnore": False} for one in asked
                ]
            }
        if "/commit/" in path:
            self._commit(name, [json.loads(line) for line in body.splitlines()])
            return 200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.url}/datasets/{name}/commit/0"}
        return 200, {"id": name, "sha": "0" * 40, "private": self.private[name], "siblings": []}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        url = f"{self.url}/{asked['type']}s/{name}"
        if name in self.files:
            return 409, {"error": "You already created this dataset repo", "url": url}
        self.private[name], self.files[name] = asked["visibility"] == "private", {}
        return 200, {"url": url, "name": name}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[name][value["path"]] = self.stored[value["oid"]]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.keys.add(self.headers.get("Authorization", ""))
            status, content = hub.answer(self.command, self.path.partition("?")[0], body)
            packed = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(packed)

        do_GET = do_HEAD = do_POST = do_PUT = _handle

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
