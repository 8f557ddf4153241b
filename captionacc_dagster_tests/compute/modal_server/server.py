"""The server itself: a thread with its own event loop, and what a test may ask of it and tell it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpclib.server
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_pb2

from captionacc_dagster.compute.envelope import FunctionName
from captionacc_dagster.compute.modal_spec import APP_NAME, FUNCTIONS, STORAGE_SECRET, STORAGE_SECRET_KEYS
from captionacc_dagster_tests.compute.modal_server.faults import Fault, Outcome
from captionacc_dagster_tests.compute.modal_server.servicer import NO_FAULT, Call, Servicer

TOKEN_ID, TOKEN_SECRET = "ak-loopback", "as-loopback"
APP_MODULE = "captionacc_dagster.compute.modal_app"


class ModalServer:
    """Modal on loopback; a context manager.

    Attributes:
        requests: every request that came, with its name, in order; a client's own retries are there too.
        calls: function calls by id.
        apps: name → id of the deployed apps; ours is there from the start.
        app_tags: the tags of the app that was deployed last.
        modules: function name → the module that holds it.
        secrets: name → the keys a secret holds.
        container_env: the environment of the containers, the secret's content included.
    """

    def __init__(self, secret: Mapping[str, str] | None = None) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.calls: dict[str, Call] = {}
        self.apps: dict[str, str] = {APP_NAME: "ap-1"}
        self.modules: dict[str, str] = dict.fromkeys(FUNCTIONS, APP_MODULE)
        self.function_ids: dict[str, str] = {}
        self.app_tags: dict[str, str] = {}
        self.definitions: dict[str, Any] = {}
        self.mounted: set[str] = set()
        self.image_commands: list[str] = []
        self.secrets: dict[str, set[str]] = {STORAGE_SECRET: set(STORAGE_SECRET_KEYS)}
        # Containers do not see the tests' environment, but for what a process needs.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.container_env = {**kept, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", **(secret or {})}
        self.tokens = {TOKEN_ID: TOKEN_SECRET}
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._outcomes: deque[Outcome] = deque()
        self._default_outcome = Outcome()
        self._loop = asyncio.new_event_loop()
        self._gpu_free = asyncio.Event()
        self._gpu_free.set()
        self._ready = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._serve, name="modal-server", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20), "the Modal server did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(20)

    @property
    def env(self) -> dict[str, str]:
        """The environment with which Modal's client talks to this server and to nobody else."""
        return {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{self.port}",
            "MODAL_TOKEN_ID": TOKEN_ID,
            "MODAL_TOKEN_SECRET": TOKEN_SECRET,
            "MODAL_CONFIG_PATH": os.devnull,
            "MODAL_MAX_THROTTLE_WAIT": "2",
        }

    # --- what a test tells it -----------------------------------------------------------------------------------------

    def inject(self, request: str, *faults: Fault) -> None:
        """Let the next requests of this name meet these faults, one each."""
        self._faults[request].extend(faults)

    def expect(self, *outcomes: Outcome) -> None:
        """Let the next calls come to these outcomes, one each."""
        self._outcomes.extend(outcomes)

    def always(self, outcome: Outcome) -> None:
        """Let all calls for which nothing else is expected come to this outcome."""
        self._default_outcome = outcome

    def undeploy(self) -> None:
        """Forget the app."""
        self.apps.clear()

    def occupy_gpus(self) -> None:
        """Let calls wait in the queue."""
        self._loop.call_soon_threadsafe(self._gpu_free.clear)

    def free_gpus(self) -> None:
        """Let queued calls start."""
        self._loop.call_soon_threadsafe(self._gpu_free.set)

    def expire(self, call_id: str) -> None:
        """Let a call's result be too old to be had."""

        def expire() -> None:
            self.calls[call_id].state = "expired"
            self.calls[call_id].ended.set()

        self._loop.call_soon_threadsafe(expire)

    def forget(self, call_id: str) -> None:
        """Let a call be unknown."""
        del self.calls[call_id]

    # --- what a test asks ---------------------------------------------------------------------------------------------

    def count(self, request: str) -> int:
        """How many requests of this name came."""
        return sum(name == request for name, _ in self.requests)

    def calls_of(self, function: FunctionName) -> list[Call]:
        """The calls of one function, in order."""
        return [call for call in self.calls.values() if call.function == function]

    def data_of(self, function: str) -> api_pb2.FunctionData:
        """A function's definition: as it was deployed, or the little that a call needs."""
        if function in self.definitions:
            return self.definitions[function].function_data
        ranked = api_pb2.FunctionData.RankedFunction(function=api_pb2.Function(function_name=function))
        return api_pb2.FunctionData(function_name=function, ranked_functions=[ranked])

    # --- for the servicer ---------------------------------------------------------------------------------------------

    def accepts(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a request carries a token that is known."""
        return self.tokens.get(metadata.get("x-modal-token-id", "")) == metadata.get("x-modal-token-secret", "-")

    def take_fault(self, request: str) -> Fault:
        """The fault that this request is to meet."""
        waiting = self._faults[request]
        return waiting.popleft() if waiting else NO_FAULT

    def take_outcome(self) -> Outcome:
        """What is to become of the next call."""
        return self._outcomes.popleft() if self._outcomes else self._default_outcome

    async def gpu_free(self) -> None:
        """Wait until there is a GPU."""
        await self._gpu_free.wait()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stopping = asyncio.Event()
        server = grpclib.server.Server([Servicer(self).build()], status_details_codec=custom_detail_codec)
        await server.start("127.0.0.1", 0)
        listening: Any = server._server
        self.port = listening.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        for call in self.calls.values():
            if call.process is not None and call.process.returncode is None:
                call.process.kill()
                await call.process.wait()
            if call.task is not None:
                call.task.cancel()
        server.close()
        await server.wait_closed()
