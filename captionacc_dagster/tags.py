"""The names of the tags on Dagster's runs: ours, and those of Dagster that we read.

A person sees four of ours in Dagster's UI: tenant, tier (not on a one-person system), priority, and the video's name.
The UI and GraphQL hide names that begin with ``.dagster/``.
"""

from typing import Final

TENANT_TAG: Final = "captionacc/tenant"
SHOWN_TIER_TAG: Final = "captionacc/tier"
VIDEO_NAME_TAG: Final = "captionacc/video"
DAGSTER_PRIORITY_TAG: Final = "dagster/priority"

TIER_TAG: Final = ".dagster/captionacc_tier"
TIER_SOURCE_TAG: Final = ".dagster/captionacc_tier_source"
AGE_BOOSTING_TAG: Final = ".dagster/captionacc_age_boosting"
REQUESTED_AT_TAG: Final = ".dagster/captionacc_requested_at"
BASE_PRIORITY_TAG: Final = ".dagster/captionacc_base_priority"
FLOW_TAG: Final = ".dagster/captionacc_flow"
VIDEO_TAG: Final = ".dagster/captionacc_video"
REQUEST_TAG: Final = ".dagster/captionacc_request"
# How often the request had been launched before this run was made for it.
ATTEMPT_TAG: Final = ".dagster/captionacc_attempt"
WORKER_TAG: Final = ".dagster/captionacc_worker"
# Runs inside a command: the command itself decides what comes next.
COMMAND_TAG: Final = ".dagster/captionacc_command"

PARTITION_TAG: Final = "dagster/partition"
BACKFILL_TAG: Final = "dagster/backfill"
SENSOR_TAG: Final = "dagster/sensor_name"
PARENT_RUN_TAG: Final = "dagster/parent_run_id"
ROOT_RUN_TAG: Final = "dagster/root_run_id"
WILL_RETRY_TAG: Final = "dagster/will_retry"
AUTO_RETRY_RUN_TAG: Final = "dagster/auto_retry_run_id"
MAX_RETRIES_TAG: Final = "dagster/max_retries"
RETRY_NUMBER_TAG: Final = "dagster/retry_number"
