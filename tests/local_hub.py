"""A hub of our own on this machine, for the real clients of the libraries: folders of repositories, over HTTP."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Hub:
    """Repositories by name, each with its files at each of its commits; the last one is `main`.

    Attributes:
        requests: (method, path) of every request.
        gated: repositories that nobody may have.
        cut: of a file by its name, so many bytes are sent and then the connection is closed, once.
    """

    address: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)

    def publish(self, repo: str, files: dict[str, bytes], tag: str | None = None) -> str:
        """A new commit of a repository. Returns its hash."""
        commits = self.repositories.setdefault(repo, {})
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        commit = hashlib.sha1(f"{repo} {len(commits)}".encode() + content, usedforsecurity=False).hexdigest()
        commits[commit] = dict(files)
        if tag is not None:
            self.tags[repo, tag] = commit
        return commit

    def downloads(self) -> list[str]:
        """The names of the files that were sent."""
        return [path.rpartition("/")[2] for method, path in self.requests if method == "GET" and "/resolve/" in path]

    def commit_of(self, repo: str, revision: str) -> str | None:
        commits = self.repositories[repo]
        revision = self.tags.get((repo, revision), revision)
        return [*commits][-1] if revision == "main" else revision if revision in commits else None


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.requests.append((self.command, self.path))
            path = self.path.partition("?")[0].strip("/")
            if path.startswith("files/"):  # an address that no hub knows
                self._send(hub.repositories["files"]["x"].get(path.partition("/")[2]), {})
            elif path.startswith("api/models/"):
                repo, _, revision = path.removeprefix("api/models/").partition("/revision/")
                self._about(repo, revision or "main")
            else:
                repo, _, rest = path.partition("/resolve/")
                revision, _, name = rest.partition("/")
                self._file(repo, revision, name)

        def _about(self, repo: str, revision: str) -> None:
            if self._refused(repo, revision):
                return
            commit = hub.commit_of(repo, revision)
            files = [{"rfilename": name} for name in hub.repositories[repo][commit or ""]]
            body = {"id": repo, "sha": commit, "siblings": files, "private": False, "tags": []}
            self._send(json.dumps(body).encode(), {"Content-Type": "application/json"})

        def _file(self, repo: str, revision: str, name: str) -> None:
            if self._refused(repo, revision):
                return
            commit = hub.commit_of(repo, revision) or ""
            data, told = hub.repositories[repo][commit].get(name), {"X-Repo-Commit": commit}
            if data is None:
                self._none("EntryNotFound", told)
                return
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            tag = hashlib.sha256(data).hexdigest() if not name.endswith(".json") else git
            self._send(data, told | {"ETag": f'"{tag}"', "X-Linked-ETag": f'"{tag}"', "X-Linked-Size": str(len(data))})

        def _refused(self, repo: str, revision: str) -> bool:
            if repo in hub.gated:
                self._none("GatedRepo", {}, 403)
            elif repo not in hub.repositories:
                self._none("RepoNotFound", {}, 401)
            elif hub.commit_of(repo, revision) is None:
                self._none("RevisionNotFound", {})
            else:
                return False
            return True

        def _none(self, code: str, told: dict[str, str], status: int = 404) -> None:
            self.send_response(status)
            for name, value in (told | {"X-Error-Code": code, "Content-Length": "0"}).items():
                self.send_header(name, value)
            self.end_headers()

        def _send(self, data: bytes | None, told: dict[str, str]) -> None:
            if data is None:
                self._none("EntryNotFound", told)
                return
            begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0] or 0)
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            for name, value in (told | {"Content-Length": str(len(data) - begin)}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                cut = hub.cut.pop(self.path.rpartition("/")[2], None)
                self.wfile.write(data[begin:] if cut is None else data[begin : begin + cut])
                self.close_connection = cut is not None

    return Handler


@contextmanager
def running(cache: Path) -> Iterator[Hub]:
    """A hub, and this process's clients of it, with an empty cache."""
    from huggingface_hub import constants

    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        # what the environment says is read once, when the client is imported
        patch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        patch.setenv("TORCH_HOME", str(cache / "torch"))
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield hub
    server.shutdown()
    server.server_close()
    thread.join()
