"""Deploy the app to Modal, and check its setup."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from captionacc_dagster.compute.base import ComputeError, ComputeMisconfigured
from captionacc_dagster.compute.code_version import code_version
from captionacc_dagster.compute.modal_errors import Meaning, error_for, meaning_of
from captionacc_dagster.compute.modal_image import LockFileError
from captionacc_dagster.compute.modal_spec import (
    APP_NAME,
    DEPLOY_COMMAND,
    FUNCTIONS,
    STORAGE_SECRET,
    STORAGE_SECRET_KEYS,
    VERSION_TAG,
)

_INSTALL = "the package modal is missing: pip install modal"
_SECRET_COMMAND = f"modal secret create {STORAGE_SECRET} " + " ".join(f"{key}=…" for key in STORAGE_SECRET_KEYS)


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check: its name, whether it passed, and details or what to do."""

    what: str
    ok: bool
    details: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployed app: its URL and version."""

    url: str
    version: str


def deploy(environment: str = "", *, show_output: bool = True) -> Deployed:
    """Deploy the app of ``compute.modal_app``, building its image if it has changed.

    Args:
        environment: the Modal environment; "" for the workspace's default.
        show_output: whether Modal's progress is printed.

    Raises:
        ComputeMisconfigured: the package, the token, the secret, or the lock file is missing or refused.
        ComputeUnavailable: Modal cannot be reached.
    """
    if find_spec("modal") is None:
        raise ComputeMisconfigured(_INSTALL)
    import modal

    try:
        from captionacc_dagster.compute.modal_app import app

        if show_output:
            with modal.enable_output():
                app.deploy(environment_name=environment or None)
        else:
            app.deploy(environment_name=environment or None)
        return Deployed(app.get_dashboard_url(), code_version())
    except LockFileError as error:
        raise ComputeMisconfigured(f"the image cannot be built: {error}") from error
    except Exception as error:
        raise _explained(error, "deploying", environment) from error


def doctor(environment: str = "") -> list[Finding]:
    """Check what calls to Modal need: package, token, secret with its keys, app and its version, each function.

    Checks that depend on a failed one are skipped.
    """
    if find_spec("modal") is None:
        return [Finding("package", False, _INSTALL)]
    import modal

    findings = [Finding("package", True, f"modal {modal.__version__}")]
    for finding in _checks(environment):
        findings.append(finding)
        if not finding.ok and finding.what in ("token", "app"):
            break
    return findings


def _checks(environment: str) -> Iterator[Finding]:
    import modal

    where = f"environment {environment}" if environment else "the default environment"

    def check_token() -> str:
        modal.Client.from_env().hello()
        return "accepted"

    def check_secret() -> str:
        modal.Secret.from_name(
            STORAGE_SECRET, environment_name=environment or None, required_keys=list(STORAGE_SECRET_KEYS)
        ).hydrate()
        return f"{STORAGE_SECRET} contains {', '.join(STORAGE_SECRET_KEYS)}"

    def check_app() -> str:
        app = modal.App.lookup(APP_NAME, environment_name=environment or None)
        running = app.get_tags().get(VERSION_TAG, "unknown")
        if running != code_version():
            raise ComputeMisconfigured(
                f"runs version {running}, this side is {code_version()}; deploy it with `{DEPLOY_COMMAND}`"
            )
        return f"{APP_NAME} in {where} runs version {running}"

    yield _finding("token", check_token, environment)
    yield _finding("secret", check_secret, environment, missing=f"create it with `{_SECRET_COMMAND}`")
    yield _finding("app", check_app, environment)
    for name, spec in FUNCTIONS.items():

        def check_function(name: str = name, gpus: tuple[str, ...] = spec.gpus) -> str:
            modal.Function.from_name(APP_NAME, name, environment_name=environment or None).hydrate()
            return f"deployed, on {' or '.join(gpus)}"

        yield _finding(name, check_function, environment)


def _finding(what: str, check: Callable[[], str], environment: str, *, missing: str = "") -> Finding:
    try:
        return Finding(what, True, check())
    except ComputeError as error:
        return Finding(what, False, str(error))
    except Exception as error:  # noqa: BLE001 - every reason is told
        import modal.exception

        lacks = isinstance(error, modal.exception.NotFoundError | modal.exception.ConflictError)
        if missing and lacks:
            return Finding(what, False, f"{_first_line(error)}; {missing}")
        return Finding(what, False, str(_explained(error, what, environment)))


def _explained(error: Exception, what: str, environment: str) -> ComputeError:
    import modal.exception

    if isinstance(error, ComputeError):
        return error
    meaning = meaning_of(error, waiting=False)
    if meaning is Meaning.MISSING and "ecret" in str(error):
        return ComputeMisconfigured(f"{what}: {_first_line(error)}; create it with `{_SECRET_COMMAND}`")
    if isinstance(error, modal.exception.AuthError):
        meaning = Meaning.FORBIDDEN
    return error_for(meaning, error, what=what, app=APP_NAME, environment=environment)


def _first_line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
