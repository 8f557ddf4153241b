"""The names of the tags on Dagster's runs: ours, and those of Dagster that we read.

A person sees four of ours in Dagster's UI: tenant, tier, priority, and the video's name. The UI hides names that begin
with ``.dagster/``.
"""

from typing import Final

TENANT_TAG: Final = "captionacc/tenant"
TIER_TAG: Final = "captionacc/tier"
DAGSTER_PRIORITY_TAG: Final = "dagster/priority"

TIER_SOURCE_TAG: Final = "captionacc/tier_source"
AGE_BOOSTING_TAG: Final = "captionacc/age_boosting"
REQUESTED_AT_TAG: Final = "captionacc/requested_at"
BASE_PRIORITY_TAG: Final = "captionacc/base_priority"
FLOW_TAG: Final = "captionacc/flow"
VIDEO_TAG: Final = "captionacc/video"
REQUEST_TAG: Final = "captionacc/request"
WORKER_TAG: Final = "captionacc/worker"
# Runs inside a command: the command itself decides what comes next.
COMMAND_TAG: Final = "captionacc/command"

PARTITION_TAG: Final = "dagster/partition"
BACKFILL_TAG: Final = "dagster/backfill"
PARENT_RUN_TAG: Final = "dagster/parent_run_id"
WILL_RETRY_TAG: Final = "dagster/will_retry"
AUTO_RETRY_RUN_TAG: Final = "dagster/auto_retry_run_id"
MAX_RETRIES_TAG: Final = "dagster/max_retries"
RETRY_NUMBER_TAG: Final = "dagster/retry_number"
