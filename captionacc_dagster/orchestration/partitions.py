"""Every asset is partitioned by video; the key is the video's id."""

from dagster import DynamicPartitionsDefinition

videos_partitions = DynamicPartitionsDefinition(name="videos")
