"""Everything Dagster loads, gathered."""

from dagster import Definitions, in_process_executor, load_assets_from_modules

from captionacc_dagster.assets import caption_extents, captions, initial_processing, raw_video
from captionacc_dagster.orchestration.jobs import JOBS
from captionacc_dagster.orchestration.sensors import SENSORS
from captionacc_dagster.resources import dagster_resources

defs = Definitions(
    assets=load_assets_from_modules([raw_video, initial_processing, caption_extents, captions]),
    jobs=JOBS,
    sensors=SENSORS,
    resources=dagster_resources(),
    executor=in_process_executor,
)
