"""``captionacc modal``: deploy the app to Modal and check that calls to it can work."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

modal_app = typer.Typer(help="The app on Modal's GPUs (docs/modal.md).", no_args_is_help=True)

Environment = Annotated[
    str,
    typer.Option("--env", "-e", envvar="MODAL_ENVIRONMENT", help="Modal environment; default: the workspace's own."),
]


@modal_app.command()
def deploy(environment: Environment = "") -> None:
    """Deploy the app, building its image if it has changed."""
    from captionacc_dagster.compute import modal_setup
    from captionacc_dagster.compute.base import ComputeError

    try:
        deployed = modal_setup.deploy(environment)
    except ComputeError as error:
        Console(stderr=True).print(f"[red]captionacc:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    Console().print(f"deployed version {deployed.version}: {deployed.url}", highlight=False, soft_wrap=True)


@modal_app.command()
def doctor(environment: Environment = "") -> None:
    """Check token, secret, app, version, and functions, and say what to do about problems."""
    from rich.table import Table

    from captionacc_dagster.compute import modal_setup

    findings = modal_setup.doctor(environment)
    table = Table("", "what", "details", box=None, pad_edge=False)
    for finding in findings:
        table.add_row("[green]ok[/green]" if finding.ok else "[red]no[/red]", finding.what, finding.details)
    Console().print(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
