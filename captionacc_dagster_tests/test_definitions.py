"""The graph as Dagster loads it: no asset, job or sensor changes without this test noticing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import AssetKey, EnvVar, build_resources
from dagster_aws.s3 import S3Resource

from captionacc_dagster.catalog.models import LOCAL_TENANT_ID
from captionacc_dagster.compute.code_version import code_version, deciding_files
from captionacc_dagster.definitions import defs
from captionacc_dagster.orchestration.flows import FLOW_ASSETS, videos_partitions
from captionacc_dagster.orchestration.transitions import STAGES
from captionacc_dagster.resources import ProcessingResource, StoreResource, dagster_resources
from captionacc_dagster.s3_resource import BucketResource
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.local import LocalObjectStore
from captionacc_dagster.storage.s3 import S3ObjectStore

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[1]
HEAVY = ("av", "boto3", "botocore", "cv2", "dagster_aws", "modal", "numpy", "onnxruntime", "rapidocr", "supabase")
# Dagster itself imports these only where a process opens an instance.
INSTANCE_SIDE = ("sqlalchemy", "alembic", "psycopg", "dagster._daemon", "dagster._core.workspace.context")


def test_the_assets_and_what_they_rest_on() -> None:
    graph = defs.resolve_asset_graph()
    assert {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    } == {
        "raw_video": [],
        "full_frames": ["raw_video"],
        "ocr_db": ["raw_video"],
        "layout_db": ["raw_video"],
        "cropped_frames": ["layout_db"],
        "caption_frame_extents": ["layout_db"],
        "captions_db": ["caption_frame_extents"],
        "subtitles": ["captions_db"],
    }


def test_every_asset_says_what_it_is_and_whose() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners == ["team:captions"]
        assert node.kinds
        assert node.partitions_def == videos_partitions
        assert node.code_version == code_version(), "Dagster knows what is stale"
        assert set(node.pools or ()) <= {"compute"}
        (reference,) = node.metadata["dagster/code_references"].code_references
        assert reference.file_path.startswith(str(ROOT / "captionacc_dagster" / "assets"))


def test_a_model_that_was_trained_again_is_other_code() -> None:
    captioning = ROOT / "captionacc_dagster" / "captioning"
    found = {path.relative_to(captioning).as_posix() for path in deciding_files(captioning)}
    models = {"glyph_mask.onnx", "layout_kinds.npz", "script_classifier.onnx"}
    assert {f"models/{name}" for name in models} <= found
    assert {path.relative_to(captioning).as_posix() for path in captioning.rglob("*.py")} <= found
    assert not [path for path in found if path.endswith(".pyc")]


# True: blocking.
CHECKS = {
    "raw_video": {"keys_belong_to_tenant": True, "object_as_recorded": True},
    "full_frames": {"objects_as_recorded": True, "every_frame_is_there": True, "frames_match_duration": False},
    "ocr_db": {"object_as_recorded": True, "every_frame_read": True},
    "layout_db": {
        "keys_belong_to_tenant": True,
        "object_as_recorded": True,
        "boxes_agree": True,
        "layout_is_confident": False,
        "nothing_to_report": False,
    },
    "cropped_frames": {"objects_as_recorded": False, "every_chunk_is_there": False, "frames_match_duration": False},
    "caption_frame_extents": {
        "keys_belong_to_tenant": True,
        "object_as_recorded": True,
        "extents_in_order": True,
        "labels_agree": True,
    },
    "captions_db": {
        "every_caption_read": True,
        "captions_in_order": False,
        "lengths_plausible": False,
        "reading_speed_plausible": False,
        "text_is_confident": False,
        "confident_as_a_whole": False,
        "no_text_twice": False,
        "seen_text_is_covered": False,
        "nothing_to_report": False,
    },
    "subtitles": {"keys_belong_to_tenant": True, "equal_the_captions": True},
}


def test_the_checks_and_which_of_them_block() -> None:
    graph = defs.resolve_asset_graph()
    found: dict[str, dict[str, bool]] = {}
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.description, key
        found.setdefault(key.asset_key.to_user_string(), {})[key.name] = spec.blocking
    assert found == CHECKS


@pytest.mark.parametrize("flow", ["video_initial_processing", "crop_and_infer", "caption_ocr"])
def test_a_job_runs_the_checks_of_its_assets(flow: str) -> None:
    graph = defs.resolve_job_def(flow).asset_layer.asset_graph
    chosen = {key.to_user_string() for key in defs.resolve_job_def(flow).asset_layer.selected_asset_keys}
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == {
        (asset, name) for asset in chosen for name in CHECKS[asset]
    }


def test_the_jobs_and_their_assets() -> None:
    assert {
        job.name: {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
        for job in (
            defs.resolve_job_def(name) for name in ("video_initial_processing", "crop_and_infer", "caption_ocr")
        )
    } == {
        **{flow.value: set(assets) for flow, assets in FLOW_ASSETS.items()},
        "caption_ocr": {"captions_db", "subtitles"},
    }


def test_every_step_of_a_job_has_its_stage() -> None:
    """A failure of a step that the table does not know would be recorded in the wrong stage, or nowhere."""
    steps = {node.name for flow in FLOW_ASSETS for node in defs.resolve_job_def(flow.value).graph.nodes}
    assert steps == set(STAGES)


def test_a_flow_covers_every_asset_once() -> None:
    covered = [name for assets in FLOW_ASSETS.values() for name in assets]
    keys = defs.resolve_asset_graph().get_all_asset_keys()
    assert sorted(covered) == sorted(key.to_user_string() for key in keys)
    assert all(AssetKey(name) in keys for name in covered)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("captionacc_dagster.definitions", (*HEAVY, *INSTANCE_SIDE)),
        ("captionacc_dagster.backends", (*HEAVY, "dagster")),
        ("captionacc_dagster.cli", (*HEAVY, *INSTANCE_SIDE, "dagster", "pydantic", "typer.rich_utils")),
    ],
)
def test_importing_stays_light(module: str, unwanted: tuple[str, ...]) -> None:
    program = (
        f"import sys, json; import {module};print(json.dumps([name for name in {unwanted!r} if name in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(result.stdout) == []


def test_no_registry_and_no_url_in_the_lock() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_definitions_only_gathers() -> None:
    source = (ROOT / "captionacc_dagster" / "definitions.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 50


def test_a_resource_is_built_from_its_fields(tmp_path: Path) -> None:
    with build_resources({"store": StoreResource(home=str(tmp_path))}) as built:
        assert isinstance(built.store, LocalObjectStore)
        built.store.publish(f"{LOCAL_TENANT_ID}/a", b"a")
    assert (tmp_path / "objects" / str(LOCAL_TENANT_ID) / "a").is_file()


def test_the_resources_show_what_a_run_uses_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASABI_BUCKET", "videos")
    monkeypatch.setenv("WASABI_ACCESS_KEY", "an access key")
    monkeypatch.setenv("WASABI_SECRET_KEY", "a secret key")
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        home=tmp_path,
        cropped_frame_rate=12.0,
        subtitle_form="words",
        subtitle_include=["caption", "title"],
        auto_approve_layout="never",
    )
    resources = dagster_resources(settings)
    store, s3 = resources["store"], resources["s3"]
    assert isinstance(store, BucketResource)
    assert isinstance(s3, S3Resource)
    assert (store.bucket, s3.region_name, s3.endpoint_url) == (
        "videos",
        settings.wasabi_region,
        settings.endpoint_url,
    )
    assert isinstance(s3.aws_secret_access_key, EnvVar)
    shown = resources["processing"]
    assert isinstance(shown, ProcessingResource)
    assert (shown.cropped_frame_rate, shown.subtitle_form, shown.auto_approve_layout) == (12.0, "words", "never")
    assert (shown.subtitle_options.phrases, shown.subtitle_options.include) == (False, ("caption", "title"))
    assert "a secret key" not in repr(resources)
    with build_resources({"store": store}) as built:
        assert isinstance(built.store, S3ObjectStore)


def test_without_a_bucket_dagster_aws_is_not_imported(tmp_path: Path) -> None:
    resources = dagster_resources(Settings(_env_file=None, home=tmp_path))  # pyright: ignore[reportCallIssue]
    assert isinstance(resources["store"], StoreResource)
    assert "s3" not in resources
