"""The requests that Modal's client makes, answered; every other one is refused as unimplemented."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from grpclib import GRPCError, Status
from modal_proto import api_grpc, api_pb2

from captionacc_dagster_tests.compute.modal_server.faults import CallState, Fault, Outcome

if TYPE_CHECKING:
    from captionacc_dagster_tests.compute.modal_server.server import ModalServer

_CONTAINER = "captionacc_dagster_tests.compute.modal_server.container"
_RESULT = api_pb2.GenericResult
_ENDS = {
    "timeout": (_RESULT.GENERIC_STATUS_TIMEOUT, "Task's current input hit its timeout of 1800s"),
    "internal_failure": (_RESULT.GENERIC_STATUS_INTERNAL_FAILURE, "Internal error: the worker went away"),
    "evicted": (_RESULT.GENERIC_STATUS_MEMORY_MANAGER_EVICTION, "Container was evicted"),
    "out_of_memory": (_RESULT.GENERIC_STATUS_KERNEL_OOM_KILL, "Container ran out of memory"),
    "cancelled": (_RESULT.GENERIC_STATUS_TERMINATED, "Input was cancelled by the user"),
}


@dataclass(slots=True)
class Call:
    """One function call, as the server knows it."""

    id: str
    function: str
    message: Mapping[str, Any]
    outcome: Outcome
    state: CallState = "queued"
    result: api_pb2.GenericResult | None = None
    cancelled: bool = False
    containers_terminated: bool = False
    container_s: float | None = None
    reply: Any = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None


Handler = Callable[[Any], Awaitable[Any]]


class Servicer:
    """Modal's control plane, as far as deploying an app and calling its functions goes."""

    def __init__(self, server: ModalServer) -> None:
        self._server = server
        self._numbers = _NUMBERS
        self._by_idempotency_key: dict[str, Call] = {}
        self._objects: dict[str, str] = {}

    def build(self) -> api_grpc.ModalClientBase:
        """Make the grpclib service: every method of the protocol, most of them unimplemented."""
        methods = {name: self._method(name) for name in api_grpc.ModalClientBase.__abstractmethods__}
        return type("Service", (api_grpc.ModalClientBase,), methods)()

    def _method(self, name: str) -> Callable[[Any, Any], Awaitable[None]]:
        handler: Handler | None = getattr(self, name, None)

        async def method(_self: object, stream: Any) -> None:
            request = await stream.recv_message()
            metadata = dict(stream.metadata)
            self._server.requests.append((name, request))
            fault = self._server.take_fault(name)
            await asyncio.sleep(fault.delay_s)
            if fault.drop == "before":
                _drop(stream)
                return
            if fault.status is not None:
                details = None
                if fault.retry_after_s is not None:
                    details = [api_pb2.RPCRetryPolicy(retry_after_secs=fault.retry_after_s)]
                raise GRPCError(fault.status, f"injected {fault.status.name}", details)
            if not self._server.accepts(metadata):
                raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or unknown")
            if handler is None:
                raise GRPCError(Status.UNIMPLEMENTED, f"{name} is not part of this server")
            if name == "FunctionMap":
                reply = await self.map_function(request, metadata.get("x-idempotency-key", ""))
            else:
                reply = await handler(request)
            if fault.drop == "after":
                _drop(stream)
                return
            await stream.send_message(reply)

        return method

    # --- clients, environments, apps --------------------------------------------------------------------------------

    async def ClientHello(self, request: Any) -> Any:  # noqa: N802 - the protocol's names
        return api_pb2.ClientHelloResponse(image_builder_version="2025.06")

    async def EnvironmentGetOrCreate(self, request: Any) -> Any:  # noqa: N802
        settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06")
        name = request.deployment_name or "main"
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-1", metadata=api_pb2.EnvironmentMetadata(name=name, settings=settings)
        )

    async def AppGetByDeploymentName(self, request: Any) -> Any:  # noqa: N802
        return api_pb2.AppGetByDeploymentNameResponse(app_id=self._server.apps.get(request.name, ""))

    async def AppCreate(self, request: Any) -> Any:  # noqa: N802
        app_id = f"ap-{next(self._numbers)}"
        return api_pb2.AppCreateResponse(app_id=app_id, app_page_url=f"http://127.0.0.1/apps/{app_id}")

    async def AppGetOrCreate(self, request: Any) -> Any:  # noqa: N802
        if request.app_name not in self._server.apps:
            raise GRPCError(Status.NOT_FOUND, f"App '{request.app_name}' not found")
        return api_pb2.AppGetOrCreateResponse(app_id=self._server.apps[request.app_name])

    async def AppGetTags(self, request: Any) -> Any:  # noqa: N802
        return api_pb2.AppGetTagsResponse(tags=self._server.app_tags)

    async def AppGetLayout(self, request: Any) -> Any:  # noqa: N802
        return api_pb2.AppGetLayoutResponse(app_layout=api_pb2.AppLayout(function_ids=self._server.function_ids))

    async def AppHeartbeat(self, request: Any) -> Any:  # noqa: N802
        return Empty()

    async def AppClientDisconnect(self, request: Any) -> Any:  # noqa: N802
        return Empty()

    async def AppPublish(self, request: Any) -> Any:  # noqa: N802
        self._server.apps[request.name] = request.app_id
        self._server.function_ids.update(request.function_ids)
        self._server.app_tags = dict(request.tags)
        return api_pb2.AppPublishResponse(url=f"http://127.0.0.1/apps/{request.app_id}", deployed_at=time.time())

    # --- what an app is made of -------------------------------------------------------------------------------------

    async def SecretGetOrCreate(self, request: Any) -> Any:  # noqa: N802
        keys = self._server.secrets.get(request.deployment_name)
        if keys is None:
            raise GRPCError(Status.NOT_FOUND, f"Secret '{request.deployment_name}' not found")
        missing = [key for key in request.required_keys if key not in keys]
        if missing:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Secret is missing key(s): {', '.join(missing)}")
        return api_pb2.SecretGetOrCreateResponse(secret_id=f"st-{request.deployment_name}")

    async def MountGetOrCreate(self, request: Any) -> Any:  # noqa: N802
        for file in request.files:
            self._server.mounted.add(file.filename)
        return api_pb2.MountGetOrCreateResponse(
            mount_id=f"mo-{next(self._numbers)}", handle_metadata=api_pb2.MountHandleMetadata()
        )

    async def MountBatchedCheckExistence(self, request: Any) -> Any:  # noqa: N802
        return api_pb2.MountBatchedCheckExistenceResponse(checked_at=_now())

    async def MountPutFile(self, request: Any) -> Any:  # noqa: N802
        return api_pb2.MountPutFileResponse(exists=True, checked_at=_now())

    async def ImageGetOrCreate(self, request: Any) -> Any:  # noqa: N802
        self._server.image_commands.extend(request.image.dockerfile_commands)
        return api_pb2.ImageGetOrCreateResponse(
            image_id=f"im-{next(self._numbers)}",
            result=api_pb2.GenericResult(status=_RESULT.GENERIC_STATUS_SUCCESS),
            metadata=api_pb2.ImageMetadata(image_builder_version="2025.06"),
        )

    async def FunctionPrecreate(self, request: Any) -> Any:  # noqa: N802
        return api_pb2.FunctionPrecreateResponse(
            function_id=f"fu-{request.function_name}", handle_metadata=_handle(request.function_name)
        )

    async def FunctionCreate(self, request: Any) -> Any:  # noqa: N802
        data = request.function_data
        name = data.function_name or request.function.function_name
        self._server.definitions[name] = request
        self._server.modules[name] = data.module_name or request.function.module_name
        return api_pb2.FunctionCreateResponse(
            function_id=f"fu-{name}", handle_metadata=_handle(name), function=request.function, function_data=data
        )

    # --- calls ------------------------------------------------------------------------------------------------------

    async def FunctionGet(self, request: Any) -> Any:  # noqa: N802
        if request.app_name not in self._server.apps or request.object_tag not in self._server.modules:
            raise GRPCError(Status.NOT_FOUND, f"App '{request.app_name}' not found")
        name = request.object_tag
        return api_pb2.FunctionGetResponse(
            function_id=f"fu-{name}", handle_metadata=_handle(name), function=self._server.data_of(name)
        )

    async def FunctionMap(self, request: Any) -> Any:  # noqa: N802
        return await self.map_function(request, "")

    async def map_function(self, request: Any, idempotency_key: str) -> Any:
        """Take a call; the same request again (its reply was lost) is the same call."""
        call = self._by_idempotency_key.get(idempotency_key)
        if call is None:
            [item] = request.pipelined_inputs
            (message, *_), _ = pickle.loads(item.input.args)
            number = next(self._numbers)
            call = Call(f"fc-{number}", request.function_id.removeprefix("fu-"), message, self._server.take_outcome())
            self._server.calls[call.id] = call
            if idempotency_key:
                self._by_idempotency_key[idempotency_key] = call
            call.task = asyncio.create_task(self._carry_out(call, item.input.args))
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            pipelined_inputs=[api_pb2.FunctionPutInputsResponseItem(input_id=f"in-{call.id}", input_jwt="jwt")],
        )

    async def FunctionGetOutputs(self, request: Any) -> Any:  # noqa: N802
        call = self._call(request.function_call_id)
        try:
            await asyncio.wait_for(call.ended.wait(), max(0.001, request.timeout))
        except TimeoutError:
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        if call.state == "expired":
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=0)
        item = api_pb2.FunctionGetOutputsItem(
            result=call.result, idx=0, input_id=f"in-{call.id}", data_format=api_pb2.DATA_FORMAT_PICKLE
        )
        return api_pb2.FunctionGetOutputsResponse(outputs=[item], num_unfinished_inputs=0)

    async def FunctionGetCallGraph(self, request: Any) -> Any:  # noqa: N802
        call = self._call(request.function_call_id)
        return api_pb2.FunctionGetCallGraphResponse(
            inputs=[
                api_pb2.InputCallGraphInfo(
                    input_id=f"in-{call.id}",
                    function_call_id=call.id,
                    task_id="" if call.state == "queued" else f"ta-{call.id}",
                )
            ],
            function_calls=[api_pb2.FunctionCallCallGraphInfo(function_call_id=call.id, function_name=call.function)],
        )

    async def FunctionCallFromId(self, request: Any) -> Any:  # noqa: N802
        call = self._call(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=1)

    async def FunctionCallCancel(self, request: Any) -> Any:  # noqa: N802
        call = self._call(request.function_call_id)
        call.cancelled = True
        call.containers_terminated = request.terminate_containers
        if call.process is not None and call.process.returncode is None:
            call.process.kill()
        if call.task is not None:
            call.task.cancel()
        self._end(call, *_ENDS["cancelled"])
        return Empty()

    def _call(self, call_id: str) -> Call:
        call = self._server.calls.get(call_id)
        if call is None:
            raise GRPCError(Status.NOT_FOUND, f"Function call {call_id} not found")
        return call

    def _end(self, call: Call, status: Any, text: str = "", data: bytes = b"") -> None:
        if not call.ended.is_set():
            call.result = api_pb2.GenericResult(status=status, exception=text, data=data)
            call.state = "ended"
            call.ended.set()

    async def _carry_out(self, call: Call, args: bytes) -> None:
        try:
            outcome = call.outcome
            if outcome.kind == "queued":
                return
            await self._server.gpu_free()
            call.state = "running"
            await asyncio.sleep(outcome.after_s)
            if outcome.kind == "hang":
                return
            if outcome.kind == "reply":
                assert outcome.reply is not None
                self._end(call, _RESULT.GENERIC_STATUS_SUCCESS, data=pickle.dumps(outcome.reply(call.message)))
            elif outcome.kind == "user_error":
                self._end(call, _RESULT.GENERIC_STATUS_FAILURE, repr(outcome.error), pickle.dumps(outcome.error))
            elif outcome.kind == "run":
                await self._run(call, args)
            else:
                self._end(call, *_ENDS[outcome.kind])
        except Exception:  # noqa: BLE001 - a broken test server must be seen in the test
            self._end(call, _RESULT.GENERIC_STATUS_FAILURE, traceback.format_exc())

    async def _run(self, call: Call, args: bytes) -> None:
        """Run the real function in a process of its own, as a container would."""
        call.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _CONTAINER,
            self._server.modules[call.function],
            call.function,
            call.id,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._server.container_env,
        )
        began = time.monotonic()
        output, _ = await call.process.communicate(args)
        call.container_s = time.monotonic() - began
        if not output:
            self._end(call, *_ENDS["evicted"])
            return
        kind, value = pickle.loads(output)
        if kind == "result":
            call.reply = value
            self._end(call, _RESULT.GENERIC_STATUS_SUCCESS, data=pickle.dumps(value))
        else:
            error, text = value
            self._end(call, _RESULT.GENERIC_STATUS_FAILURE, text, pickle.dumps(error))


def _now() -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    return now


def _drop(stream: Any) -> None:
    stream._stream._transport.abort()
    raise asyncio.CancelledError


def _handle(name: str) -> api_pb2.FunctionHandleMetadata:
    return api_pb2.FunctionHandleMetadata(
        function_name=name,
        function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION,
        definition_id=f"de-{name}",
        app_id="ap-1",
        supported_input_formats=[api_pb2.DATA_FORMAT_PICKLE],
        supported_output_formats=[api_pb2.DATA_FORMAT_PICKLE],
    )


NO_FAULT = Fault()
# No id comes twice in one session: the ledger keeps those of earlier servers.
_NUMBERS = itertools.count(1)
