"""What assets have in common: how the outputs of one compute call are described, and where their code is."""

import warnings
from collections.abc import Sequence
from typing import Any

from dagster import AssetSpec, BetaWarning, with_source_code_references


def compute_output(name: str, description: str, kinds: set[str], *, made_from: str, flow: str) -> AssetSpec:
    """Describe one output of a compute call.

    Args:
        name: the asset's key.
        description: what a person should know of it.
        kinds: what it is made of.
        made_from: the asset that it rests on.
        flow: the flow that makes it; its group.
    """
    return AssetSpec(
        name,
        deps=[made_from],
        description=description,
        group_name=flow,
        kinds=kinds,
        owners=["team:captions"],
        code_version="1",
        skippable=True,  # a refused one has none
    )


def with_code_references(assets: Sequence[Any]) -> Sequence[Any]:
    """Let Dagster's UI name the file and line that make each asset."""
    with warnings.catch_warnings():
        # Said at every start of every command otherwise; without the references nothing else would change.
        warnings.simplefilter("ignore", BetaWarning)
        return with_source_code_references(assets)
