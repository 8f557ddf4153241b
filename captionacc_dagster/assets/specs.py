"""Shared parts of asset definitions: specs of a compute call's outputs, and links to their source code."""

import warnings
from collections.abc import Sequence
from typing import Any

from dagster import AssetSpec, BetaWarning, with_source_code_references

from captionacc_dagster.compute.code_version import code_version


def compute_output(name: str, description: str, kinds: set[str], *, made_from: str, flow: str) -> AssetSpec:
    """Return the spec of one output of a compute call.

    Args:
        name: the asset's key.
        description: shown in Dagster's UI.
        kinds: the badges shown in Dagster's UI.
        made_from: the asset that it depends on.
        flow: the flow that makes it, which is also its group.
    """
    return AssetSpec(
        name,
        deps=[made_from],
        description=description,
        group_name=flow,
        kinds=kinds,
        owners=["team:captions"],
        code_version=code_version(),
        skippable=True,  # a call refused by a quota has no output
    )


def with_code_references(assets: Sequence[Any]) -> Sequence[Any]:
    """Return the assets with links to their source, for Dagster's UI."""
    with warnings.catch_warnings():
        # The warning would appear at the start of every command; nothing else depends on these links.
        warnings.simplefilter("ignore", BetaWarning)
        return with_source_code_references(assets)
