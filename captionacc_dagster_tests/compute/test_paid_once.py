"""Attacks on "the work is done and paid once": kills, lost records, refusals, and crowds, with the real functions.

Counted at the server on loopback: containers started, seconds they ran, and results they wrote.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from grpclib import Status
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from captionacc_dagster.catalog.calls import Retries
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.base import ComputeForbidden, ComputeTimeout
from captionacc_dagster.compute.modal_backend import ModalCompute, reconcile
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster_tests.compute.conftest import (
    AddVideo,
    MakeBackend,
    StoredVideo,
    extract_result,
    limits,
    reply_with,
    rows_of,
)
from captionacc_dagster_tests.compute.modal_server import Fault, ModalServer, Outcome
from captionacc_dagster_tests.servers import S3Server
from captionacc_dagster_tests.small_clips import make_clip

pytestmark = [pytest.mark.integration, pytest.mark.recovery]

SLOW_ANSWER = Outcome("reply", reply_with(extract_result), after_s=1.5)

# A run that dies after Modal has taken the call and before the ledger knows its id.
_DIES = """
import os, signal, sys
from captionacc_dagster.backends import open_store
from captionacc_dagster.catalog.postgres import PostgresCatalog
from captionacc_dagster.compute.modal_backend import ModalCompute
from captionacc_dagster.compute.modal_calls import WaitLimits
from captionacc_dagster.settings import Settings

ledger = PostgresCatalog(os.environ["LEDGER"])
ledger.spawn_compute_call = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
store = open_store(Settings(_env_file=None))
limits = WaitLimits(intent_s=2.0)  # by default, the next caller waits a minute for the record
compute = ModalCompute(store, ledger, run_id="dies", limits=limits, video_seconds=lambda _: 20.0)
compute.extract_frames_and_ocr(*sys.argv[1:4])
"""


@pytest.fixture
def clip_video(add_video: AddVideo, tmp_path: Path) -> StoredVideo:
    return add_video(make_clip(tmp_path / "news.mp4"))


def die_after_spawn(video: StoredVideo, server: ModalServer, bucket: S3Server, ledger_url: str, home: Path) -> str:
    """Let a run die between the call and its record; return Modal's id of the orphan."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    environment = {**kept, **bucket.environment(), **server.env, "LEDGER": ledger_url, "CAPTIONACC_HOME": str(home)}
    before = set(server.calls)
    run = subprocess.run([sys.executable, "-c", _DIES, *video.where], env=environment, capture_output=True, check=False)
    assert run.returncode == -9, run.stderr.decode()
    (orphan,) = set(server.calls) - before
    return orphan


def wait_until(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def leases_of(store: ObjectStore, video: StoredVideo) -> list[str]:
    return [key for key in store.list_files(video.keys.compute_prefix) if "/leases/" in key]


def containers_started(server: ModalServer) -> int:
    """How many processes ran a deployed function to its end; prints how long, for docs/modal.md."""
    ran = [call for call in server.calls.values() if call.container_s is not None]
    for call in ran:
        print(f"{call.id}: container {call.container_s:.1f} s, function {call.reply['worker']['seconds']:.1f} s")
    return len(ran)


def results_written(server: ModalServer) -> int:
    """How many calls did the work, rather than find it done or leave it to another."""
    written = 0
    for call in server.calls.values():
        if call.container_s is not None and call.reply is not None and call.reply["failure"] is None:
            written += not call.reply["worker"]["reused"]
    return written


def test_a_run_killed_before_the_record_leaves_a_running_call_that_is_found(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    clip_video: StoredVideo,
    ledger: PostgresCatalog,
    ledger_url: str,
    bucket: S3Server,
    store: ObjectStore,
    tmp_path: Path,
) -> None:
    orphan = die_after_spawn(clip_video, modal_server, bucket, ledger_url, tmp_path)
    [row] = rows_of(ledger, clip_video)
    assert (row.state, row.external_call_id) == ("intent", None)
    wait_until(lambda: leases_of(store, clip_video) or modal_server.calls[orphan].state == "ended")

    backend = make_backend(limits=limits(run_s=240, queue_s=240))
    assert backend.extract_frames_and_ocr(*clip_video.where).ocr_box_count > 0

    [row] = rows_of(ledger, clip_video)
    assert (row.state, len(modal_server.calls), results_written(modal_server)) == ("succeeded", 1, 1)
    assert containers_started(modal_server) == 1
    assert leases_of(store, clip_video) == []


def test_a_second_container_of_the_same_work_ends_at_once(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    clip_video: StoredVideo,
    ledger: PostgresCatalog,
    ledger_url: str,
    bucket: S3Server,
    store: ObjectStore,
    tmp_path: Path,
) -> None:
    # The orphan waits for a GPU, so that nothing tells of it: the next run makes the call again.
    modal_server.occupy_gpus()
    orphan = die_after_spawn(clip_video, modal_server, bucket, ledger_url, tmp_path)
    backend = make_backend(limits=limits(run_s=240, queue_s=240))
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(backend.extract_frames_and_ocr, *clip_video.where)
        wait_until(lambda: len(modal_server.calls) == 2)
        modal_server.free_gpus()
        assert result.result(240).ocr_box_count > 0
    wait_until(lambda: all(call.container_s is not None for call in modal_server.calls.values()))

    first, second = sorted(modal_server.calls.values(), key=lambda call: call.reply["worker"]["seconds"])
    assert (containers_started(modal_server), results_written(modal_server)) == (2, 1)
    # It ended while the other worked: the two started together. How soon is in test_leases.py, counted in looks.
    assert first.reply["failure"]["kind"] == "busy"
    assert first.reply["failure"]["message"] == second.id
    assert orphan in (first.id, second.id)
    [row] = rows_of(ledger, clip_video)
    assert row.state == "succeeded"
    assert leases_of(store, clip_video) == []


def test_four_callers_at_once_make_one_call(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(SLOW_ANSWER)
    modal_server.inject("FunctionMap", Fault(delay_s=0.5))
    start = threading.Barrier(4)

    def work(_: int) -> int:
        backend = make_backend(limits=limits(intent_s=20))
        start.wait()
        return backend.extract_frames_and_ocr(*video.where).frame_count

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [2, 2, 2, 2]
    assert (modal_server.count("FunctionMap"), len(rows_of(ledger, video))) == (1, 1)
    assert modal_server.count("FunctionCallCancel") == 0


def test_another_caller_of_the_same_run_makes_no_second_call(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo
) -> None:
    modal_server.always(SLOW_ANSWER)
    modal_server.inject("FunctionMap", Fault(delay_s=0.5))
    with ThreadPoolExecutor(2) as threads:
        backends = [make_backend(run_id="the same", limits=limits(intent_s=20)) for _ in range(2)]
        list(threads.map(lambda backend: backend.extract_frames_and_ocr(*video.where), backends))
    assert (modal_server.count("FunctionMap"), modal_server.count("FunctionCallCancel")) == (1, 0)


OTHERS = [status for status in Status if status.name not in ("OK", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED")]


@pytest.mark.parametrize("status", OTHERS, ids=lambda status: status.name)
def test_no_answer_to_a_poll_ends_a_call_that_runs(
    modal_server: ModalServer, backend: ModalCompute, video: StoredVideo, ledger: PostgresCatalog, status: Status
) -> None:
    modal_server.always(SLOW_ANSWER)
    modal_server.inject("FunctionGetOutputs", *[Fault(status=status)] * 3)
    assert backend.extract_frames_and_ocr(*video.where).frame_count == 2
    assert (len(modal_server.calls), modal_server.count("FunctionCallCancel")) == (1, 0)
    assert [row.state for row in rows_of(ledger, video)] == ["succeeded"]


def test_two_polls_that_do_not_find_the_call_are_a_mistake_of_modal(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo
) -> None:
    modal_server.always(SLOW_ANSWER)
    modal_server.inject("FunctionGetOutputs", *[Fault(status=Status.NOT_FOUND)] * 2)
    backend = make_backend(limits=limits(lost_s=5))
    assert backend.extract_frames_and_ocr(*video.where).frame_count == 2
    assert (len(modal_server.calls), modal_server.count("FunctionCallCancel")) == (1, 0)


def test_a_token_that_is_refused_while_polling_leaves_the_call_alone(
    modal_server: ModalServer, make_backend: MakeBackend, video: StoredVideo, ledger: PostgresCatalog
) -> None:
    modal_server.always(SLOW_ANSWER)
    known = dict(modal_server.tokens)
    threading.Thread(
        target=lambda: (wait_until(lambda: modal_server.count("FunctionGetOutputs") > 0), modal_server.tokens.clear()),
        daemon=True,
    ).start()
    with pytest.raises(ComputeForbidden, match="refuses the token"):
        make_backend().extract_frames_and_ocr(*video.where)
    [row] = rows_of(ledger, video)
    assert row.state in ("spawned", "running")
    assert row.error_details is None
    assert modal_server.count("FunctionCallCancel") == 0

    modal_server.tokens.update(known)
    assert make_backend().extract_frames_and_ocr(*video.where).frame_count == 2
    assert (len(modal_server.calls), modal_server.count("FunctionCallCancel")) == (1, 0)


def test_a_cancellation_that_was_not_confirmed_is_asked_for_again(
    modal_server: ModalServer,
    make_backend: MakeBackend,
    video: StoredVideo,
    ledger: PostgresCatalog,
    store: ObjectStore,
) -> None:
    modal_server.always(Outcome("hang"))
    modal_server.inject("FunctionCallCancel", Fault(status=Status.PERMISSION_DENIED))
    with pytest.raises(ComputeTimeout):
        make_backend(limits=limits(run_s=0.5)).extract_frames_and_ocr(*video.where)
    [call] = modal_server.calls.values()
    [row] = rows_of(ledger, video)
    assert (row.state, call.cancelled) == ("running", False)
    assert row.cancel_requested_at is not None

    # Although somebody has just waited for it.
    assert call.id in reconcile(ledger, store, unseen_for=timedelta(hours=2))
    assert call.cancelled
    assert rows_of(ledger, video)[0].state == "cancelled"


def test_reconcile_finds_and_cancels_an_orphan_that_no_run_wants(
    modal_server: ModalServer,
    clip_video: StoredVideo,
    ledger: PostgresCatalog,
    ledger_url: str,
    bucket: S3Server,
    store: ObjectStore,
    tmp_path: Path,
) -> None:
    orphan = die_after_spawn(clip_video, modal_server, bucket, ledger_url, tmp_path)
    wait_until(lambda: leases_of(store, clip_video))
    assert orphan in reconcile(ledger, store, unseen_for=timedelta(0), limit=500)
    assert modal_server.calls[orphan].cancelled
    assert rows_of(ledger, clip_video)[0].state == "cancelled"


# --- the catalog away


class Line:
    """A Unix socket before Postgres's own that can be cut; a context manager."""

    def __init__(self, url: str, folder: Path) -> None:
        self._target = str(Path(str(conninfo_to_dict(url)["host"])) / ".s.PGSQL.5432")
        self._path = folder / ".s.PGSQL.5432"
        self._open: list[socket.socket] = []
        self._listening: socket.socket | None = None
        self.url = make_conninfo(url, host=str(folder))

    def __enter__(self) -> Line:
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def restore(self) -> None:
        listening = self._listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self._path))
        listening.listen(20)
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def cut(self) -> None:
        if self._listening is not None:
            self._path.unlink()
            self._listening.close()
            self._listening = None
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listening.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(ledger_url: str) -> Iterator[Line]:
    from tempfile import TemporaryDirectory  # not pytest's folder: the path of a socket is short

    with TemporaryDirectory(prefix="ca-") as folder, Line(ledger_url, Path(folder)) as line:
        yield line


@pytest.mark.parametrize("when", ["the id is being recorded", "the call is polled"])
def test_a_catalog_that_is_away_does_not_disturb_the_call(
    modal_server: ModalServer, store: ObjectStore, video: StoredVideo, ledger: PostgresCatalog, line: Line, when: str
) -> None:
    modal_server.always(Outcome("reply", reply_with(extract_result), after_s=3.0))
    request = "FunctionMap" if when == "the id is being recorded" else "FunctionGetOutputs"

    def cut_and_restore() -> None:
        wait_until(lambda: modal_server.count(request) > 0)
        line.cut()
        time.sleep(1.5)
        line.restore()

    if request == "FunctionMap":
        modal_server.inject("FunctionMap", Fault(delay_s=0.5))
    threading.Thread(target=cut_and_restore, daemon=True).start()
    with PostgresCatalog(line.url, retries=Retries(attempts=1), connect_timeout_s=0.3) as cut_off:
        backend = ModalCompute(store, cut_off, run_id="run", limits=limits(), video_seconds=lambda _: 20.0)
        assert backend.extract_frames_and_ocr(*video.where).frame_count == 2
    [call] = modal_server.calls.values()
    [row] = rows_of(ledger, video)
    assert (row.state, row.external_call_id) == ("succeeded", call.id)
    assert modal_server.count("FunctionCallCancel") == 0
