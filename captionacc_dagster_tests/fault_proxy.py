"""A loopback HTTP proxy in front of a real server that does to chosen requests what bad networks and servers do."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer

_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with a request; several fields may be set.

    ``reset``: the connection breaks before the request is read. ``status`` and ``body``: an answer in the server's
    place. ``cut_request`` and ``cut_response``: the connection breaks after that many bytes of the body.
    ``corrupt_response``: the byte at that place of the answer's body is changed. ``delay_s``: the request waits first.
    """

    reset: bool = False
    status: int | None = None
    body: bytes = b""
    cut_request: int | None = None
    cut_response: int | None = None
    corrupt_response: int | None = None
    delay_s: float = 0.0


def s3_error(status: int, code: str, message: str = "injected") -> Fault:
    """An S3 server's own error answer."""
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Fault(status=status, body=xml.encode())


@dataclass(slots=True)
class _Rule:
    fault: Fault
    method: str | None
    containing: str
    remaining: int | None


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request that came by: its method, its target (path and query) and its header lines in lower case."""

    method: str
    target: str
    headers: dict[str, str]


class FaultProxy:
    """Forward to ``127.0.0.1:upstream_port``; each connection carries one request. Use it as a context manager."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = ("127.0.0.1", upstream_port)
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server: ThreadingTCPServer | None = None
        self.requests: list[SeenRequest] = []
        self.injected = 0

    @property
    def url(self) -> str:
        """The proxy's own address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        proxy = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    proxy._serve(self.request)

        class Server(ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def inject(self, fault: Fault, *, times: int | None = 1, method: str | None = None, containing: str = "") -> None:
        """Do this to the next ``times`` requests (None: until ``clear``) of a method whose target contains a text."""
        with self._lock:
            self._rules.append(_Rule(fault, method, containing, times))

    def clear(self) -> None:
        """Forward everything again."""
        with self._lock:
            self._rules.clear()

    @contextmanager
    def away(self, fault: Fault | None = None) -> Iterator[None]:
        """Let every request fail within the block, by a reset unless another fault is given."""
        self.inject(fault or Fault(reset=True), times=None)
        try:
            yield
        finally:
            self.clear()

    def _pick(self, request: SeenRequest) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.remaining == 0 or rule.method not in (None, request.method):
                    continue
                if rule.containing in request.target:
                    if rule.remaining is not None:
                        rule.remaining -= 1
                    self.injected += 1
                    return rule.fault
        return None

    def _serve(self, client: socket.socket) -> None:
        received = _read_head(client)
        if received is None:
            return
        head, rest = received
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        fault = self._pick(SeenRequest(method, target, headers)) or Fault()
        if fault.delay_s and self._stopping.wait(fault.delay_s):
            return
        if fault.reset:
            _reset(client)
        elif fault.status is not None:
            _answer(
                client, fault, rest, int(headers.get("content-length", 0)), "100-continue" in headers.get("expect", "")
            )
        else:
            # One request a connection: neither end's keep-alive is a header that S3 signs.
            kept = [line for line in lines if not line.lower().startswith("connection:")]
            self._forward(client, "\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1"), rest, fault)

    def _forward(self, client: socket.socket, head: bytes, rest: bytes, fault: Fault) -> None:
        with socket.create_connection(self._upstream) as upstream:
            upstream.sendall(head)
            sender = threading.Thread(target=_send_body, args=(client, upstream, rest, fault.cut_request), daemon=True)
            sender.start()
            _send_answer(upstream, client, fault)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _read_head(client: socket.socket) -> tuple[bytes, bytes] | None:
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(_BUFFER)
        if not data:
            return None
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def _answer(client: socket.socket, fault: Fault, rest: bytes, body_size: int, expects_continue: bool) -> None:
    # The body is read first, as a server does that is polite enough to be heard; unless it still waits to be asked for.
    missing = 0 if expects_continue else body_size - len(rest)
    while missing > 0 and (data := client.recv(_BUFFER)):
        missing -= len(data)
    head = (
        f"HTTP/1.1 {fault.status} Injected\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(fault.body)}\r\nConnection: close\r\n\r\n"
    )
    client.sendall(head.encode() + fault.body)


def _send_body(client: socket.socket, upstream: socket.socket, rest: bytes, cut: int | None) -> None:
    with suppress(OSError):
        data = rest
        sent = 0
        while True:
            if cut is not None and sent + len(data) > cut:
                upstream.sendall(data[: cut - sent])
                _reset(upstream)
                _reset(client)
                return
            upstream.sendall(data)
            sent += len(data)
            data = client.recv(_BUFFER)
            if not data:
                return


def _send_answer(upstream: socket.socket, client: socket.socket, fault: Fault) -> None:
    head = b""
    body_sent = 0
    in_body = False
    while data := upstream.recv(_BUFFER):
        if not in_body:
            head += data
            while head.startswith(b"HTTP/1.1 100") and b"\r\n\r\n" in head:
                interim, _, head = head.partition(b"\r\n\r\n")
                client.sendall(interim + b"\r\n\r\n")
            if b"\r\n\r\n" not in head or head.startswith(b"HTTP/1.1 100"):
                continue
            in_body = True
            complete, _, data = head.partition(b"\r\n\r\n")
            client.sendall(complete + b"\r\n\r\n")
        if fault.corrupt_response is not None and body_sent <= fault.corrupt_response < body_sent + len(data):
            place = fault.corrupt_response - body_sent
            data = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        if fault.cut_response is not None and body_sent + len(data) > fault.cut_response:
            client.sendall(data[: fault.cut_response - body_sent])
            # An orderly end, so that what was sent arrives: the client sees a body shorter than was announced.
            client.shutdown(socket.SHUT_WR)
            return
        client.sendall(data)
        body_sent += len(data)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        connection.close()
