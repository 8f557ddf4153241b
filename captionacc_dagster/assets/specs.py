"""What the outputs of one compute call have in common as assets."""

from dagster import AssetSpec


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
