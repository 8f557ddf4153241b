"""docs/wasabi.md: its files are taken by an S3 server, and its policies separate what they say they do."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from captionacc_dagster.storage.keys import VideoKeys, temporary_key
from captionacc_dagster_tests.servers import S3Server

PAGE = Path(__file__).parents[2] / "docs" / "wasabi.md"
BUCKET = "captionacc-example"
KEYS = VideoKeys(str(uuid4()), str(uuid4()))
CLIENT = [KEYS.video, KEYS.full_frame(0), KEYS.chunk(1, 16, 0), KEYS.captions_db, KEYS.subtitles("srt")]
SERVER = [KEYS.ocr_db, KEYS.layout_db, KEYS.extents_db(1), temporary_key(KEYS.tenant_id, uuid4())]


def page_file(name: str) -> dict[str, Any]:
    match = re.search(rf"<!-- file: {re.escape(name)} -->\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert match, f"docs/wasabi.md shows no {name}"
    return json.loads(match.group(1))


def allows(policy: dict[str, Any], action: str, resource: str) -> bool:
    """What IAM decides: a denial wins, else something must allow it."""

    def matches(statement: dict[str, Any]) -> bool:
        actions, resources = (
            value if isinstance(value, list) else [value] for value in (statement["Action"], statement["Resource"])
        )
        return any(fnmatchcase(action, each) for each in actions) and any(
            fnmatchcase(resource, each) for each in resources
        )

    effects = {statement["Effect"] for statement in policy["Statement"] if matches(statement)}
    return effects == {"Allow"}


@pytest.mark.unit
@pytest.mark.security
def test_the_web_user_sees_client_keys_only() -> None:
    policy = page_file("web-policy.json")
    arn = f"arn:aws:s3:::{BUCKET}"
    assert all(allows(policy, "s3:GetObject", f"{arn}/{key}") for key in CLIENT)
    assert not any(allows(policy, "s3:GetObject", f"{arn}/{key}") for key in SERVER)
    assert allows(policy, "s3:PutObject", f"{arn}/{KEYS.video}")
    assert not any(allows(policy, "s3:PutObject", f"{arn}/{key}") for key in [*CLIENT[1:], *SERVER])
    for action in ("s3:DeleteObject", "s3:ListBucket"):
        assert not any(allows(policy, action, f"{arn}/{key}") for key in [*CLIENT, *SERVER])
        assert not allows(policy, action, arn)


@pytest.mark.unit
def test_the_service_may_do_what_the_store_does_in_this_bucket_only() -> None:
    policy = page_file("service-policy.json")
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"):
        assert all(allows(policy, action, f"arn:aws:s3:::{BUCKET}/{key}") for key in [*CLIENT, *SERVER])
        assert not allows(policy, action, f"arn:aws:s3:::{BUCKET}-other/{KEYS.video}")
    for action in ("s3:ListBucket", "s3:ListBucketMultipartUploads"):
        assert allows(policy, action, f"arn:aws:s3:::{BUCKET}")


@pytest.mark.integration
def test_a_server_takes_the_pages_files(moto: S3Server) -> None:
    client = moto.client()
    client.put_bucket_lifecycle_configuration(Bucket=moto.bucket, LifecycleConfiguration=page_file("lifecycle.json"))
    rules = client.get_bucket_lifecycle_configuration(Bucket=moto.bucket)["Rules"]
    assert rules[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}
    client.put_bucket_cors(Bucket=moto.bucket, CORSConfiguration=page_file("cors.json"))
    assert client.get_bucket_cors(Bucket=moto.bucket)["CORSRules"][0]["AllowedMethods"] == ["GET", "HEAD", "PUT"]
