"""What production runs on: the files parse, name what exists, agree with each other, and give no more than needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config
from pydantic import AliasChoices

from captionacc_dagster.compute import modal_image
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.observability.conftest import DEPLOY

pytestmark = [pytest.mark.integration, pytest.mark.observability]

ROOT = DEPLOY.parent
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PRODUCTION: dict[str, Any] = yaml.safe_load((DEPLOY / "production" / "dagster.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / "dagster-values.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    document
    for name in ("config", "migrate", "api")
    for document in yaml.safe_load_all((DEPLOY / "kubernetes" / f"{name}.yaml").read_text())
]
OURS = ("migrate", "code", "webserver", "daemon", "api")
# Read by others than our settings: database images, the S3 clients, the compose file itself, Modal, Grafana.
FOREIGN = re.compile(
    r"POSTGRES_(USER|DB|PASSWORD)|AWS_\w+|CAPTIONACC_IMAGE|CODE_(CPUS|MEMORY)|COMPOSE_PROJECT_NAME|MODAL_TOKEN_\w+"
    r"|GF_\w+|GRAFANA_PASSWORD|RCLONE_\w+"
)


def names_of_settings() -> set[str]:
    found = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [f"CAPTIONACC_{name.upper()}"]
        found |= {str(choice) for choice in choices}
    return found


def variables_in(value: Any) -> set[str]:
    """The environment that a dagster.yaml reads."""
    if isinstance(value, dict):
        own = {value["env"]} if set(value) == {"env"} else set()
        return own.union(*(variables_in(part) for part in value.values()))
    return set().union(*(variables_in(part) for part in value)) if isinstance(value, list) else set()


def test_every_file_parses() -> None:
    for path in [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")]:
        assert list(yaml.safe_load_all(path.read_text())), path
    for path in DEPLOY.rglob("*.json"):
        assert json.loads(path.read_text()), path
    for path in (DEPLOY / "make-secrets", *DEPLOY.glob("*.sh")):
        subprocess.run(["sh", "-n", path], check=True)


def test_images_have_a_version_and_no_registry() -> None:
    images = {service["image"] for service in COMPOSE["services"].values()}
    images |= {str(container["image"]) for container in containers()}
    images |= {re.search(r"PYTHON_IMAGE=(\S+)", (DEPLOY / "Dockerfile").read_text())[1]}  # pyright: ignore
    images |= {f"{found['repository']}:{found['tag']}" for found in [VALUES["dagsterDaemon"]["image"]]}
    for image in images:
        name = re.sub(r"\$\{\w+:-(.*)\}", r"\1", image)
        assert re.fullmatch(r"([a-z0-9-]+/)?[a-z0-9-]+:(?!latest)[\w.-]+", name), image


def test_the_compose_file_holds_the_whole_system(compose: dict[str, Any]) -> None:
    assert compose["services"].keys() == {*OURS, "postgres", "s3", "prometheus", "grafana"}
    assert {name for name, service in COMPOSE["services"].items() if "profiles" in service} == {"prometheus", "grafana"}
    for name, service in compose["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        for port in service.get("ports", ()):
            assert str(port if isinstance(port, str) else port["host_ip"]).startswith("127.0.0.1"), name
        if name not in ("migrate", "prometheus", "grafana"):
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped"
    for name, service in compose["services"].items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "cap_add" not in service, name
        assert "privileged" not in service, name
    for name in OURS:
        assert "user" not in compose["services"][name]  # the image's own, which is not root


# Who needs a secret besides its own server: nobody else may have it.
READERS = {
    "POSTGRES_PASSWORD": {"postgres"},
    "GF_SECURITY_ADMIN_PASSWORD": {"grafana"},
    "RCLONE_AUTH_KEY": {"s3"},
    "DAGSTER_POSTGRES_PASSWORD": {"postgres", *OURS},
    "WASABI_SECRET_KEY": set(OURS),
    "AWS_SECRET_ACCESS_KEY": set(OURS),
    "DATABASE_URL": set(OURS),
    "WEBHOOK_SECRET": {"api"},
    "WEBHOOK_SIGNING_SECRET": {"api"},
    "SUPABASE_JWT_SECRET": {"api"},
    "CAPTIONACC_METRICS_TOKEN": {"api"},
    "MODAL_TOKEN_SECRET": {"code", "daemon"},
    "SUPABASE_SERVICE_ROLE_KEY": set(OURS),
}


def test_each_service_gets_only_its_own_secrets(compose: dict[str, Any]) -> None:
    assert all("env_file" not in service for service in compose["services"].values())
    secret = re.compile(r"(PASSWORD|SECRET\w*|TOKEN\w*|KEY)$")
    for name, service in COMPOSE["services"].items():
        given = service.get("environment", {}).keys() - {"WASABI_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "MODAL_TOKEN_ID"}
        for variable in given:
            if secret.search(variable) or variable in READERS:
                assert name in READERS[variable], (name, variable)


def test_no_secret_is_in_the_files() -> None:
    for path in [path for path in DEPLOY.rglob("*") if path.is_file()]:
        text = path.read_text()
        assert not re.search(r"(?i)(password|secret|token|_key)\S*\s*[:=]\s*[\"']?[0-9a-f]{16,}", text), path
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/.env", "deploy/metrics_token"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ignored.stdout.split() == ["deploy/.env", "deploy/metrics_token"]


def test_what_a_service_needs_of_its_environment_is_there(compose: dict[str, Any]) -> None:
    wanted = variables_in(PRODUCTION)
    assert "DAGSTER_POSTGRES_PASSWORD" in wanted
    for name in OURS:
        given = compose["services"][name]["environment"]
        assert wanted <= given.keys(), name
        assert all(given[variable] for variable in wanted)
        assert given.keys() >= {"DATABASE_URL", "WASABI_BUCKET", "WASABI_ACCESS_KEY", "WASABI_SECRET_KEY"}


def test_every_variable_that_is_named_exists(compose: dict[str, Any]) -> None:
    known = names_of_settings() | variables_in(PRODUCTION)
    named = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (DEPLOY / "env.example").read_text(), re.M))
    named |= set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    named |= {name for service in compose["services"].values() for name in service.get("environment", {})}
    named |= {name for manifest in MANIFESTS if manifest["kind"] == "ConfigMap" for name in manifest["data"]}
    named |= {entry["name"] for container in containers() for entry in container.get("env", ())}
    named |= variables_in(VALUES)
    assert {name for name in named - known if not FOREIGN.fullmatch(name)} == set()


def containers() -> Iterator[dict[str, Any]]:
    for manifest in MANIFESTS:
        if manifest["kind"] in ("Deployment", "Job"):
            yield from manifest["spec"]["template"]["spec"]["containers"]


def commands() -> dict[str, list[str]]:
    found = {f"compose {name}": COMPOSE["services"][name]["command"] for name in OURS}
    for name in OURS:
        test = COMPOSE["services"][name].get("healthcheck", {}).get("test", ["CMD", "sh"])
        found[f"health of {name}"] = test[1:]
    found["kubernetes api"] = next(iter(c for c in containers() if c["name"] == "api"))["command"]
    (arguments,) = [entry["dagsterApiGrpcArgs"] for entry in VALUES["dagster-user-deployments"]["deployments"]]
    found["kubernetes code"] = ["dagster", "api", "grpc", *arguments]
    for number, line in enumerate((DEPLOY / "migrate.sh").read_text().splitlines()):
        if line.startswith(("captionacc ", "dagster ")):
            found[f"migrate {number}"] = line.split()
    return {name: command for name, command in found.items() if command[0] not in ("sh", "python")}


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_exists(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = commands()[name]
    # Values of options are no commands: what comes before the first option is.
    start = next((place for place, word in enumerate(command) if word.startswith("-")), len(command))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", [*command[:start], "--help"])
    (program,) = entry_points(group="console_scripts", name=command[0])
    with pytest.raises(SystemExit) as end:
        program.load()()
    assert end.value.code in (0, None)
    shown = capsys.readouterr().out
    for option in (word for word in command if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), option


def test_the_workspace_names_the_code_service() -> None:
    (server,) = yaml.safe_load((DEPLOY / "production" / "workspace.yaml").read_text())["load_from"]
    command = COMPOSE["services"]["code"]["command"]
    assert server["grpc_server"] == {"host": "code", "port": 4000, "location_name": "captionacc"}
    assert command[command.index("--port") + 1] == "4000"


def test_secrets_are_made_once_and_for_one_reader(tmp_path: Path) -> None:
    def make() -> subprocess.CompletedProcess[str]:
        return subprocess.run([DEPLOY / "make-secrets", tmp_path], capture_output=True, text=True, check=False)

    assert make().returncode == 0
    written = (tmp_path / ".env").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", written, re.M))
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert (tmp_path / "metrics_token").read_text() == values["CAPTIONACC_METRICS_TOKEN"]
    made = [values[name] for name in re.findall(r"^(\w+)=$", (DEPLOY / "env.example").read_text(), re.M)]
    assert len(made) == len(set(made)) == 8
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in made)
    again = make()
    assert (again.returncode, (tmp_path / ".env").read_text()) == (1, written)
    assert "is there already" in again.stderr


def test_the_image_reads_the_languages_that_modal_reads() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert sorted(re.findall(r"tesseract-ocr-[a-z-]+", text)) == sorted(modal_image.SYSTEM_PACKAGES)
    assert "tesseract]'" in text


def test_the_dockerfile_is_lean_and_runs_as_nobody() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    build, final = text.split("\nFROM ")[1:]
    instructions = re.findall(r"^([A-Z]+) (.*)$", final, re.M)
    names = [name for name, _ in instructions]
    assert names.index("USER") < names.index("HEALTHCHECK") < names.index("CMD")
    assert dict(instructions)["USER"] == "10001:10001"
    assert "ADD" not in names
    assert "--from=build" in final
    assert "pip install" not in final
    installs = re.findall(r"apt-get install (?:[^&]*)", final)
    assert len(installs) == text.count("apt-get install") == 1
    assert installs[0].startswith("apt-get install --yes --no-install-recommends")
    assert "rm -rf /var/lib/apt/lists/*" in final
    assert "PIP_NO_CACHE_DIR=1" in build
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", text, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source.removeprefix("./")).exists(), source
            assert f"!{source}" in ignore, source
    wanted = {line[1:] for line in ignore if line.startswith("!")}
    copied = {s for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", text, re.M) for s in line.split()[:-1]}
    assert wanted == copied


def test_kubernetes_gives_every_container_bounds_and_no_rights() -> None:
    for manifest in MANIFESTS:
        if manifest["kind"] not in ("Deployment", "Job"):
            continue
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert {next(iter(source)) for source in container["envFrom"]} == {"configMapRef", "secretRef"}
    deployments = [manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment"]
    assert all({"startupProbe", "livenessProbe"} <= c.keys() for d in deployments
               for c in d["spec"]["template"]["spec"]["containers"])  # fmt: skip
    services = [manifest for manifest in MANIFESTS if manifest["kind"] in ("Service", "PodDisruptionBudget")]
    labels = deployments[0]["spec"]["template"]["metadata"]["labels"]
    for service in services:
        selector = service["spec"]["selector"]
        assert selector.get("matchLabels", selector) == labels


def test_dagsters_instance_is_the_same_on_kubernetes() -> None:
    """Apart from the launcher, and from the storage, which the chart writes itself."""
    daemon, more = VALUES["dagsterDaemon"], VALUES["additionalInstanceConfig"]
    coordinator = daemon["runCoordinator"]["config"]["customRunCoordinator"]
    assert coordinator == PRODUCTION["run_coordinator"]
    assert VALUES["computeLogManager"]["config"]["customComputeLogManager"] == PRODUCTION["compute_logs"]
    for key in ("concurrency", "run_monitoring", "run_retries", "backfills"):
        assert more[key] == PRODUCTION[key], key
    # What the chart would write itself must not be there twice.
    assert (daemon["runMonitoring"], daemon["runRetries"]) == ({"enabled": False}, {"enabled": False})
    sensors = daemon["sensors"]
    assert PRODUCTION["sensors"] == {
        "use_threads": sensors["useThreads"],
        "num_workers": sensors["numWorkers"],
        "num_submit_workers": sensors["numSubmitWorkers"],
    }
    retention = VALUES["retention"]
    assert PRODUCTION["retention"] == {
        "schedule": {"purge_after_days": retention["schedule"]["purgeAfterDays"]},
        "sensor": {"purge_after_days": retention["sensor"]["purgeAfterDays"]},
    }
    assert PRODUCTION["telemetry"] == VALUES["telemetry"]
    known = {"storage", "compute_logs", "run_coordinator", "sensors", "retention", "telemetry", *more}
    assert PRODUCTION.keys() == known


def test_the_launcher_takes_its_configuration() -> None:
    from dagster_k8s import K8sRunLauncher

    given = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    config = {
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": "/opt/dagster/dagster_home",
        "image_pull_policy": given["imagePullPolicy"],
        "load_incluster_config": given["loadInclusterConfig"],
        "env_config_maps": [entry["name"] for entry in given["envConfigMaps"]],
        "env_secrets": [entry["name"] for entry in given["envSecrets"]],
        "fail_pod_on_run_failure": given["failPodOnRunFailure"],
        "resources": given["resources"],
        "run_k8s_config": {re.sub(r"(?<!^)(?=[A-Z])", "_", k).lower(): v for k, v in given["runK8sConfig"].items()},
    }
    result = process_config(K8sRunLauncher.config_type(), config)
    assert result.success, [error.message for error in result.errors or ()]


def test_the_image_and_the_chart_are_of_one_release() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    dagster = re.search(r"^dagster==(\S+)$", lock, re.M)[1]  # pyright: ignore
    assert f"--version {dagster} " in (DEPLOY / "kubernetes" / "dagster-values.yaml").read_text()
    from captionacc_dagster import __version__

    tags = {COMPOSE["x-image"]["image"].rpartition(":")[2].rstrip("}"), VALUES["dagsterDaemon"]["image"]["tag"]}
    tags |= {container["image"].rpartition(":")[2] for container in containers()}
    assert tags == {__version__}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_is_made_from_the_lock(tmp_path: Path) -> None:
    """The lines of the Dockerfile that make it, without Docker: same commands, other folders."""
    text = (DEPLOY / "Dockerfile").read_text()
    source, target = tmp_path / "source", tmp_path / "captionacc"
    for line in re.findall(r"^COPY (.*)$", text.split("\nFROM ")[1], re.M):
        *froms, to = line.split()
        for name in froms:
            place = source / to if len(froms) == 1 else source / name
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, place)
    lines = re.findall(r"^RUN (.*)$", text[text.index("# replayed") : text.index("# end")], re.M)
    assert len(lines) == 4
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for line in lines:
        command = line.replace("/opt/captionacc", str(target)).replace("python -m venv", f"{sys.executable} -m venv")
        done = subprocess.run(command, shell=True, cwd=source, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    for package in ("pytest", "moto", "playwright", "ruff", "pip"):
        assert not list(target.glob(f"lib/*/site-packages/{package}")), package
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
    probe = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    done = subprocess.run([target / "bin/python", "-c", probe], env=clean, capture_output=True, text=True, check=True)
    installed = {name.lower().replace("_", "-"): version for name, version in json.loads(done.stdout).items()}
    # Another Python has other wheels of a few packages; what the lock names for this one is what is there.
    assert {
        name for name in ("dagster", "av", "rapidocr", "onnxruntime", "fastapi") if installed[name] != locked[name]
    } == set()
    folder = {"CAPTIONACC_HOME": str(tmp_path / "home"), "PATH": f"{target}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["captionacc", "--version"], env=folder, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip()
    probe = "from captionacc_dagster.catalog.migrate import load_migrations; print(len(load_migrations()))"
    done = subprocess.run(
        [target / "bin/python", "-c", probe], env=folder, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert int(done.stdout) == len(list((ROOT / "supabase" / "migrations").glob("*.sql")))
