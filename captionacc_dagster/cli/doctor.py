"""``captionacc doctor``: check what is installed, reachable, and configured."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import httpx
from rich.console import Console
from rich.markup import escape

from captionacc_dagster import __version__
from captionacc_dagster.backends import open_catalog_briefly, open_store
from captionacc_dagster.catalog.errors import CatalogError, CatalogUnavailable
from captionacc_dagster.cli.errors import explain, store_place
from captionacc_dagster.cli.home_lock import running_on
from captionacc_dagster.cli.setting_sources import source
from captionacc_dagster.settings import Settings
from captionacc_dagster.storage.errors import StorageError

MIN_FREE_GB = 2.0
ANSWER_SECONDS = 15.0
REQUIRED = (
    "dagster",
    "dagster-webserver",
    "dagster-postgres",
    "dagster-aws",
    "av",
    "rapidocr",
    "onnxruntime",
    "modal",
    "supabase",
)
OPTIONAL = {
    "tesserocr": "more languages: pip install 'captionacc-dagster[tesseract]'",
    "google-cloud-vision": "OCR by Google Vision: pip install 'captionacc-dagster[google-vision]'",
}


class Problem(Exception):
    """A failed check; the message says what to do."""


def examine(settings: Settings, console: Console) -> bool:
    """Run every check and print a line for each; return False if a check failed."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()}, captionacc {__version__}"),
        ("packages", _packages),
        ("home", lambda: _home(settings)),
        ("ocr", lambda: _ocr(settings)),
        ("languages", lambda: _languages(settings)),
        ("catalog", lambda: _catalog(settings)),
        ("storage", lambda: _storage(settings)),
        ("compute", lambda: _compute(settings)),
        ("webhooks", lambda: _webhooks(settings)),
        ("services", lambda: _services(settings)),
    ]
    healthy = True
    for name, check in checks:
        try:
            mark, text = "[green]ok[/green]     ", check()
        except Problem as problem:
            healthy = False
            mark, text = "[red]problem[/red]", str(problem)
        console.print(f"{mark}  [bold]{name:<9}[/bold] {escape(text)}", highlight=False, soft_wrap=True)
    for package, purpose in OPTIONAL.items():
        if not _installed(package):
            console.print(f"[dim]optional {package:<9} {escape(purpose)}[/dim]", highlight=False, soft_wrap=True)
    return healthy


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages() -> str:
    found = {package: _installed(package) for package in REQUIRED}
    missing = [package for package, number in found.items() if number is None]
    if missing:
        raise Problem(f"missing: {', '.join(missing)}; run `make setup`")
    if found["dagster"] != found["dagster-webserver"]:
        raise Problem(
            f"dagster {found['dagster']} and dagster-webserver {found['dagster-webserver']} must be of the same release"
        )
    return ", ".join(f"{package} {number}" for package, number in found.items())


def _home(settings: Settings) -> str:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        probe = settings.home / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Problem(f"{settings.home}: not writable ({error.strerror}); change {source('home')}") from error
    free_gb = shutil.disk_usage(settings.home).free / 1e9
    if free_gb < MIN_FREE_GB:
        raise Problem(f"{settings.home}: only {free_gb:.1f} GB free; make room, or change {source('home')}")
    return f"{settings.home} ({free_gb:.0f} GB free)"


def _ocr(settings: Settings) -> str:
    from captionacc_dagster.captioning.ocr.base import OcrError
    from captionacc_dagster.captioning.ocr.engines import create_engine

    try:
        engine = create_engine(settings.ocr_engine, lang=settings.ocr_language, models=settings.models_dir)
    except (OcrError, ValueError) as error:
        raise Problem(f"{error}; change {source('ocr_engine')} or {source('ocr_language')}") from error
    import onnxruntime

    gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return f"{engine.name} on {'CUDA' if gpu else 'CPU'}"


def _languages(settings: Settings) -> str:
    from captionacc_dagster.captioning.ocr.engines import readiness
    from captionacc_dagster.captioning.ocr.languages import LANGUAGES

    missing = [code for code, language in LANGUAGES.items() if not readiness(language, settings.models_dir).engine]
    ready = len(LANGUAGES) - len(missing)
    if not missing:
        return f"all {ready} are ready"
    return f"{ready} of {len(LANGUAGES)} are ready; not {', '.join(missing)} (`captionacc languages add CODE`)"


def _catalog(settings: Settings) -> str:
    try:
        with open_catalog_briefly(settings) as catalog:
            videos = catalog.list_videos(limit=1).items
    except CatalogError as error:
        advice = "" if isinstance(error, CatalogUnavailable) else "; run `captionacc db migrate`"
        raise Problem(f"{explain(error, settings)}{advice}") from error
    return f"{settings.catalog_kind}, {'has videos' if videos else 'no videos yet'}{_old_postgres(settings)}"


def _old_postgres(settings: Settings) -> str:
    """Return a hint on an embedded Postgres that can be upgraded; empty if there is none."""
    from captionacc_dagster.catalog.embedded import DEFAULT_VERSION, EmbeddedPostgres

    if settings.catalog_kind != "embedded":
        return ""
    version = EmbeddedPostgres(settings.home).version
    if version == DEFAULT_VERSION:
        return ""
    return f"; Postgres {version}, `captionacc db upgrade` moves it to {DEFAULT_VERSION}"


def _storage(settings: Settings) -> str:
    try:
        open_store(settings).check()
    except StorageError as error:
        raise Problem(f"{store_place(settings)}: {error}") from error
    where = settings.objects_dir if settings.storage_kind == "local" else f"bucket {settings.wasabi_bucket}"
    return f"{settings.storage_kind}, {where}"


def _compute(settings: Settings) -> str:
    return settings.compute


def _services(settings: Settings) -> str:
    running = running_on(settings.home)
    if running is None:
        return "not running (`captionacc up` starts them)"
    try:
        answer = httpx.get(f"{running.api_url}/ready", timeout=ANSWER_SECONDS, trust_env=False)
        reasons: dict[str, str] = answer.json()["reasons"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise Problem(f"the API of process {running.pid} does not answer; see {settings.home / 'logs'}") from error
    if reasons:
        found = ", ".join(f"{part} ({reason})" for part, reason in reasons.items())
        raise Problem(f"not ready: {found}; see {settings.home / 'logs'}")
    return f"ready, {running.api_url} and {running.dagster_url}"


def _webhooks(settings: Settings) -> str:
    if not settings.webhook_secret:
        return "no WEBHOOK_SECRET; webhooks are refused (not needed on one machine)"
    short = [secret for secret in settings.webhook_secret if len(secret.get_secret_value()) < 16]
    if short:
        raise Problem(
            f"{source('webhook_secret')} has fewer than 16 characters; create one with `openssl rand -hex 32`"
        )
    return f"{len(settings.webhook_secret)} secret(s)"
