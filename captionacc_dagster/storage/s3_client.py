"""The boto3 client for Wasabi, AWS, and S3-compatible servers."""

from __future__ import annotations

from typing import Any

# Enough for the threads of two multipart uploads and one set of small uploads at once.
MAX_CONNECTIONS = 32


def create_s3_client(
    *,
    endpoint_url: str | None = None,
    region: str = "us-east-1",
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    profile: str | None = None,
    verify: bool | str | None = None,
    path_style: bool = True,
    connect_timeout_s: float = 10.0,
    read_timeout_s: float = 60.0,
    max_attempts: int = 3,
) -> Any:
    """Create a thread-safe boto3 S3 client that also works with S3-compatible servers.

    Without keys, botocore looks for them in its usual places, or in a ``profile`` of its files; CA bundle and proxies
    also come from the environment.
    Each request is tried ``max_attempts`` times within about a second; ``S3ObjectStore`` handles longer retries.
    """
    from boto3.session import Session
    from botocore.config import Config

    return Session(profile_name=profile).client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=session_token,
        verify=verify,
        config=Config(
            signature_version="s3v4",
            # Over TLS too, so that the server verifies the SHA-256 of every body and part.
            s3={"addressing_style": "path" if path_style else "virtual", "payload_signing_enabled": True},
            # The newer defaults send trailing checksums, which many S3-compatible servers refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=connect_timeout_s,
            read_timeout=read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": max_attempts},
            max_pool_connections=MAX_CONNECTIONS,
            tcp_keepalive=True,
        ),
    )
