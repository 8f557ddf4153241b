"""Deploying the real app file to a server on loopback, and what the doctor says of what it finds there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from captionacc_dagster.compute.base import ComputeMisconfigured
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.modal_image import (
    GPU_PACKAGES,
    WORKER_PACKAGES,
    LockFileError,
    image_requirements,
    lock_file,
)
from captionacc_dagster.compute.modal_setup import Finding, deploy, doctor
from captionacc_dagster.compute.modal_spec import APP_NAME, FUNCTIONS
from captionacc_dagster_tests.compute.conftest import AddVideo, MakeBackend, limits
from captionacc_dagster_tests.compute.modal_server import ModalServer
from captionacc_dagster_tests.small_clips import make_clip

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
class TestDeploying:
    def test_modal_deploy_of_the_file(self, modal_server: ModalServer) -> None:
        modal_server.undeploy()
        result = subprocess.run(
            [sys.executable, "-m", "modal", "deploy", "captionacc_dagster/compute/modal_app.py"],
            cwd=ROOT,
            env={**os.environ, **modal_server.env, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        self.check(modal_server)

    def test_captionacc_modal_deploy_and_a_call(
        self, modal_server: ModalServer, make_backend: MakeBackend, add_video: AddVideo, tmp_path: Path
    ) -> None:
        modal_server.undeploy()
        deployed = deploy(show_output=False)
        assert deployed.version == code_version()
        self.check(modal_server)
        video = add_video(make_clip(tmp_path / "clip.mp4", (), frames=30))
        backend = make_backend(limits=limits(run_s=240))
        assert backend.extract_frames_and_ocr(*video.where).ocr_box_count == 0

    def check(self, modal_server: ModalServer) -> None:
        """The app holds the three functions as they were specified."""
        assert APP_NAME in modal_server.apps
        assert set(modal_server.definitions) == set(FUNCTIONS)
        for name, spec in FUNCTIONS.items():
            data = modal_server.definitions[name].function_data
            ranked = [entry.function for entry in data.ranked_functions]
            assert [function.resources.gpu_config.gpu_type for function in ranked] == list(spec.gpus)
            assert {function.timeout_secs for function in ranked} == {spec.timeout_s}
            assert {function.startup_timeout_secs for function in ranked} == {spec.startup_timeout_s}
            assert {function.resources.milli_cpu for function in ranked} == {round(spec.cpu * 1000)}
            assert data.autoscaler_settings.max_containers == spec.max_containers
            assert data.autoscaler_settings.scaledown_window == spec.scaledown_window_s
            assert all(not function.retry_policy.retries for function in ranked)
            assert all(list(function.secret_ids) == ["st-captionacc-storage"] for function in ranked)
        assert [FUNCTIONS[name].timeout_s for name in FUNCTIONS] == [1800, 3600, 300]
        commands = "\n".join(modal_server.image_commands)
        assert "onnxruntime-gpu==" in commands
        assert "--no-deps" in commands
        assert "InferenceSession" in commands
        assert re.search(r"NVIDIA_DRIVER_CAPABILITIES=\S*video", commands)
        assert "tesseract-ocr-kor" in commands
        for name in (
            "compute/worker.py",
            "captioning/models/glyph_mask.onnx",
            "captioning/models/script_classifier.onnx",
        ):
            assert any(mounted.endswith(f"captionacc_dagster/{name}") for mounted in modal_server.mounted), name
        assert not any(name.endswith(".pyc") for name in modal_server.mounted)
        assert not any("tests" in name for name in modal_server.mounted)

    def test_without_the_secret_it_says_how_to_make_it(self, modal_server: ModalServer) -> None:
        modal_server.secrets.clear()
        # In a process of its own: an app remembers the secrets that it has found once.
        code = "from captionacc_dagster.compute.modal_setup import deploy; deploy()"
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, **modal_server.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 1
        assert "ComputeMisconfigured" in result.stderr
        assert "modal secret create captionacc-storage" in result.stderr

    def test_a_wrong_token_is_said(self, modal_server: ModalServer) -> None:
        modal_server.tokens.clear()
        with pytest.raises(ComputeMisconfigured, match="MODAL_TOKEN_ID"):
            deploy(show_output=False)


@pytest.mark.integration
class TestDoctor:
    def failures(self, findings: list[Finding]) -> list[tuple[str, str]]:
        return [(finding.what, finding.details) for finding in findings if not finding.ok]

    def test_all_is_well_after_a_deployment(self, modal_server: ModalServer) -> None:
        deploy(show_output=False)
        findings = doctor()
        assert self.failures(findings) == []
        assert [finding.what for finding in findings] == ["package", "token", "secret", "app", *FUNCTIONS]

    def test_another_version(self, modal_server: ModalServer) -> None:
        deploy(show_output=False)
        modal_server.app_tags["code_version"] = "0.0.1-older"
        [(what, details)] = self.failures(doctor())
        assert what == "app"
        assert "runs version 0.0.1-older" in details
        assert "captionacc modal deploy" in details

    def test_no_app(self, modal_server: ModalServer) -> None:
        modal_server.undeploy()
        [(what, details)] = self.failures(doctor())
        assert what == "app"
        assert "captionacc modal deploy" in details

    def test_no_secret(self, modal_server: ModalServer) -> None:
        deploy(show_output=False)
        modal_server.secrets.clear()
        [(what, details)] = self.failures(doctor())
        assert what == "secret"
        assert "modal secret create captionacc-storage" in details

    def test_a_secret_without_a_key(self, modal_server: ModalServer) -> None:
        deploy(show_output=False)
        modal_server.secrets["captionacc-storage"].discard("WASABI_BUCKET")
        [(what, details)] = self.failures(doctor())
        assert what == "secret"
        assert "WASABI_BUCKET" in details

    def test_a_wrong_token(self, modal_server: ModalServer) -> None:
        modal_server.tokens.clear()
        [(what, details)] = self.failures(doctor())
        assert what == "token"
        assert "modal token new" in details


@pytest.mark.unit
class TestImage:
    def test_every_package_is_pinned_as_locked_and_onnxruntime_is_the_gpus(self) -> None:
        lock = lock_file().read_text()
        wanted = image_requirements(lock)
        assert all(re.fullmatch(r"[a-z0-9-]+==[^\s;]+", line) for line in wanted)
        names = [line.partition("==")[0] for line in wanted]
        assert len(names) == len(set(names)) == len(WORKER_PACKAGES) + len(GPU_PACKAGES)
        assert "onnxruntime" not in names
        assert "onnxruntime-gpu" in names
        assert all(line in lock for line in wanted if line not in GPU_PACKAGES)

    def test_the_list_is_closed_under_what_its_packages_need(self) -> None:
        missing = set()
        for name in WORKER_PACKAGES:
            for line in metadata.requires(name) or []:
                needed = Requirement(line)
                linux = {"extra": "", "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
                if needed.marker is None or needed.marker.evaluate(linux):
                    missing.add(re.sub(r"[-_.]+", "-", needed.name).lower())
        assert missing - set(WORKER_PACKAGES) == set()

    def test_a_lock_file_without_a_package_is_refused(self) -> None:
        lock = "\n".join(line for line in lock_file().read_text().splitlines() if not line.startswith("av=="))
        with pytest.raises(LockFileError, match="does not pin av"):
            image_requirements(lock)

    def test_importing_the_app_is_light(self) -> None:
        code = (
            "import sys, captionacc_dagster.compute.modal_app; "
            "heavy = {'dagster', 'av', 'cv2', 'numpy', 'onnxruntime', 'boto3', 'rapidocr'} & set(sys.modules); "
            "sys.exit(', '.join(sorted(heavy)) or 0)"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
        assert result.returncode == 0, result.stderr
