"""The Dagster ``Definitions`` of this code location."""

from dagster import Definitions, in_process_executor, load_asset_checks_from_modules, load_assets_from_modules

from captionacc_dagster.assets import caption_extents, captions, checks, initial_processing, raw_video
from captionacc_dagster.assets.specs import with_code_references
from captionacc_dagster.orchestration.flows import JOBS
from captionacc_dagster.orchestration.sensors import SENSORS
from captionacc_dagster.resources import dagster_resources

defs = Definitions(
    assets=with_code_references(load_assets_from_modules([raw_video, initial_processing, caption_extents, captions])),
    asset_checks=load_asset_checks_from_modules([checks]),
    jobs=JOBS,
    sensors=SENSORS,
    resources=dagster_resources(),
    executor=in_process_executor,
)
