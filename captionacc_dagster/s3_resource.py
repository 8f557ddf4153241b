"""The object store as a Dagster resource where it is a bucket, on dagster-aws's own ``S3Resource``.

Imported only where a bucket is configured: importing dagster-aws takes as long as importing Dagster.
"""

# Dagster finds the dependencies of a resource in its annotations, so they must not be strings.
from functools import partial

from dagster import ConfigurableResource, EnvVar, InitResourceContext
from dagster_aws.s3 import S3Resource
from pydantic import Field

from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.storage.base import ObjectStore
from captionacc_dagster.storage.s3 import S3ObjectStore
from captionacc_dagster.storage.s3_client import create_s3_client


class BucketResource(ConfigurableResource[ObjectStore]):
    """The object store in a bucket; ``s3`` says where it is, and with which keys.

    The client is our own, with the settings that S3-compatible servers need (``create_s3_client``), and takes all else
    from ``s3``. Keys that ``s3`` lacks are those of the settings, or where boto3 finds them.
    """

    s3: S3Resource
    bucket: str = Field(description="The bucket's name.")

    def create_resource(self, context: InitResourceContext) -> ObjectStore:
        """Open the object store; it connects on first use."""
        s3, settings = self.s3, get_settings()
        known = settings.wasabi_access_key, settings.wasabi_secret_key
        access_key, secret_key = s3.aws_access_key_id, s3.aws_secret_access_key
        if access_key is None and secret_key is None and s3.profile_name is None:
            access_key, secret_key = (key.get_secret_value() if key else None for key in known)
        create_client = partial(
            create_s3_client,
            endpoint_url=s3.endpoint_url,
            region=s3.region_name or settings.wasabi_region,
            access_key=access_key,
            secret_key=secret_key,
            session_token=s3.aws_session_token,
            profile=s3.profile_name,
            verify=s3.verify,
            max_attempts=s3.max_attempts,
        )
        return S3ObjectStore(self.bucket, create_client)


def bucket_resources(settings: Settings, access_key: EnvVar | None, secret_key: EnvVar | None) -> dict[str, object]:
    """Return ``s3`` and the ``store`` on it, as the settings say.

    Args:
        settings: with a bucket.
        access_key, secret_key: the environment variables with the keys; None: the settings find them in ``.env``.
    """
    s3 = S3Resource(
        endpoint_url=settings.endpoint_url,
        region_name=settings.wasabi_region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        max_attempts=3,
    )
    return {"s3": s3, "store": BucketResource(s3=s3, bucket=settings.wasabi_bucket or "")}
