"""A model is fetched once, checked, and kept only when it is whole and the one that was listed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from captionacc_dagster.captioning.ocr.base import OcrError
from captionacc_dagster.captioning.ocr.model_files import ModelFile, fetch_model

pytestmark = pytest.mark.integration

CONTENT = bytes(range(256)) * 1000


class _Handler(BaseHTTPRequestHandler):
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/broken" else CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelFile]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    _Handler.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield ModelFile("some.onnx", f"http://127.0.0.1:{server.server_port}/model", hashlib.sha256(CONTENT).hexdigest())
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_is_fetched_once(model: ModelFile, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    path = fetch_model(model, tmp_path / "models", lambda come, size: seen.append((come, size)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch_model(model, tmp_path / "models") == path
    assert _Handler.requests == ["/model"]
    assert [found.name for found in path.parent.iterdir()] == ["some.onnx"]


@pytest.mark.parametrize(
    ("path", "sha256", "reason"),
    [
        ("/model", "0" * 64, "another checksum than listed"),
        ("/broken", None, "the connection ended after 128000 of 256000 bytes"),
        ("/missing", None, r"cannot be fetched \(Not Found\)"),
    ],
)
def test_a_file_that_is_not_right_is_not_kept(
    model: ModelFile, tmp_path: Path, path: str, sha256: str | None, reason: str
):
    other = replace(model, url=model.url.replace("/model", path), sha256=sha256 or model.sha256)
    with pytest.raises(OcrError, match=reason) as refused:
        fetch_model(other, tmp_path)
    assert other.url in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert fetch_model(model, tmp_path).read_bytes() == CONTENT


def test_without_a_network_the_address_is_named(model: ModelFile, tmp_path: Path):
    nobody = replace(model, url="http://127.0.0.1:9/model")
    with pytest.raises(OcrError, match=r"http://127.0.0.1:9/model: cannot be fetched \(.*refused"):
        fetch_model(nobody, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(model: ModelFile, tmp_path: Path):
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(OcrError, match=r"models/some\.onnx: cannot be written"):
        fetch_model(model, tmp_path / "models")
