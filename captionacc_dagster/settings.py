"""Typed settings from the environment and ``.env``. With nothing set, everything is embedded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# Relative to the working folder, so that tools started at the repository root read the same file.
ENV_FILE = ".env"


def _usual_name(name: str) -> AliasChoices:
    """Accept a service's usual variable name as well as the name with our prefix."""
    return AliasChoices(name, f"CAPTIONACC_{name}")


class Settings(BaseSettings):
    """All settings.

    Well-known services keep their usual variable names (``DATABASE_URL``, ``SUPABASE_URL``, ``WASABI_BUCKET`` …);
    all other names have the prefix ``CAPTIONACC_``.

    Raises:
        pydantic.ValidationError: a value has the wrong type or is out of range; the message names the field.
    """

    model_config = SettingsConfigDict(
        env_prefix="CAPTIONACC_", env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    home: Path = Field(default=Path(".captionacc"), description="Folder of everything embedded.")

    # catalog
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias=_usual_name("DATABASE_URL"),
        description="Postgres of the catalog; unset: embedded Postgres under home.",
    )
    supabase_url: str | None = Field(
        default=None,
        validation_alias=_usual_name("SUPABASE_URL"),
        description="Supabase project; takes precedence over DATABASE_URL.",
    )
    supabase_service_role_key: SecretStr | None = Field(
        default=None,
        validation_alias=_usual_name("SUPABASE_SERVICE_ROLE_KEY"),
        description="Service key of the project.",
    )
    supabase_schema: str = Field(
        default="captionacc", validation_alias=_usual_name("SUPABASE_SCHEMA"), description="Schema of the catalog."
    )

    # object store
    wasabi_bucket: str | None = Field(
        default=None,
        validation_alias=_usual_name("WASABI_BUCKET"),
        description="Bucket of an S3-compatible store; unset: a folder under home.",
    )
    wasabi_access_key: SecretStr | None = Field(
        default=None, validation_alias=_usual_name("WASABI_ACCESS_KEY"), description="Access key of the store."
    )
    wasabi_secret_key: SecretStr | None = Field(
        default=None, validation_alias=_usual_name("WASABI_SECRET_KEY"), description="Secret key of the store."
    )
    wasabi_region: str = Field(
        default="us-east-1", validation_alias=_usual_name("WASABI_REGION"), description="Region of the bucket."
    )
    wasabi_endpoint_url: str | None = Field(
        default=None,
        validation_alias=_usual_name("WASABI_ENDPOINT_URL"),
        description="Endpoint of the store; unset: Wasabi's for the region.",
    )

    tenant_id: UUID = Field(
        default=UUID("00000000-0000-4000-8000-000000000001"),
        description="Tenant of videos added by the command line and the inbox; default: the embedded system's tenant.",
    )

    # processing
    compute: Literal["local", "modal"] = Field(default="local", description="Where the heavy steps run.")
    ocr_engine: Literal["rapidocr", "google_vision"] = Field(default="rapidocr", description="OCR engine.")
    ocr_language: str | None = Field(
        default=None,
        description="Languages of the captions (BCP 47, several with commas) where a video has none of its own; "
        "unset: found out by their script.",
    )
    full_frame_rate: float = Field(default=0.1, gt=0, le=30, description="Full frames per second of video.")
    cropped_frame_rate: float = Field(default=10.0, gt=0, le=120, description="Cropped frames per second of video.")
    auto_approve_layout: Literal["always", "confident", "never"] = Field(
        default="confident",
        description="When a layout is approved without a person: always, if its confidence suffices, or never. "
        "The commands process and demo always approve.",
    )

    # subtitle files
    subtitle_include: Annotated[
        list[Literal["caption", "context", "lower_third", "title", "fixture", "interface", "scene"]], NoDecode
    ] = Field(
        default_factory=lambda: ["caption"],
        description="Kinds of text in SRT, WebVTT, and ASS, comma separated: caption, context, lower_third, title, "
        "fixture, interface, scene.",
    )
    subtitle_form: Literal["auto", "phrases", "words"] = Field(
        default="auto",
        description="Whether SRT and WebVTT join single words into phrases; auto: where captions are word by word.",
    )
    subtitle_join_gaps_ms: float = Field(
        default=0.0, ge=0, description="Longest gap, milliseconds, across which equal captions are written as one."
    )
    srt_bom: bool = Field(
        default=False, description="Write SRT with a byte order mark and CRLF, for players on Windows that need them."
    )

    # HTTP
    webhook_secret: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        validation_alias=_usual_name("WEBHOOK_SECRET"),
        description="Bearer secrets of webhooks, comma separated; several are valid during a rotation.",
    )
    webhook_signing_secret: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        validation_alias=_usual_name("WEBHOOK_SIGNING_SECRET"),
        description="Signing secrets of webhooks, comma separated; if set, unsigned webhooks are refused.",
    )
    supabase_jwt_secret: SecretStr | None = Field(
        default=None,
        validation_alias=_usual_name("SUPABASE_JWT_SECRET"),
        description="Secret of HS256 user tokens; unset and embedded: a generated one under home.",
    )
    supabase_jwks_url: str | None = Field(
        default=None,
        validation_alias=_usual_name("SUPABASE_JWKS_URL"),
        description="URL of the keys of asymmetric user tokens; unset: that of SUPABASE_URL.",
    )
    jwt_audience: str = Field(default="authenticated", description="Audience that user tokens must name.")
    jwt_issuer: str | None = Field(
        default=None, description="Issuer that user tokens must name; unset: that of SUPABASE_URL."
    )
    metrics_token: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description="Bearer tokens for /metrics, comma separated; unset and embedded: that of "
        "`captionacc token --metrics`.",
    )
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="Dagster's webserver, which launches runs.")
    api_url: str = Field(
        default="http://127.0.0.1:8000", description="Public address of the API, for links in Dagster's UI."
    )
    rate_limit_storage: str = Field(
        default="memory://",
        description="Where requests are counted: memory:// for one process; redis://… or postgresql://… for several.",
    )
    rate_limit_webhooks: str = Field(
        default="80/10 second", validate_default=False, description="Limit of webhooks per client."
    )
    rate_limit_client: str = Field(
        default="600/minute", validate_default=False, description="Limit of all requests per client."
    )
    rate_limit_tenant: str = Field(
        default="1200/minute", validate_default=False, description="Limit of all requests per tenant."
    )
    rate_limit_failures: str = Field(
        default="30/minute", validate_default=False, description="Limit of refused credentials per client."
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses or networks, comma separated, whose X-Forwarded-For is trusted; none by default.",
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Origins, comma separated, whose pages may call the API; none by default."
    )
    api_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Names, comma separated, under which the API answers (Host header); unset: under every name.",
    )
    max_connections_per_client: int = Field(
        default=200, ge=1, description="Open connections of one address, except trusted proxies."
    )
    max_body_bytes: int = Field(default=1 << 20, ge=1024, description="Largest accepted request body, bytes.")

    max_upload_bytes: int = Field(default=20 << 30, ge=1, description="Largest video uploaded over HTTP, bytes.")

    # scheduling
    max_concurrent_runs: int | None = Field(
        default=None, ge=-1, description="Concurrent runs in all (-1: no limit); unset: as in dagster.yaml."
    )
    max_concurrent_runs_per_tenant: int | None = Field(
        default=None, ge=1, description="Concurrent runs per tenant; unset: as in dagster.yaml."
    )
    max_concurrent_runs_per_flow: dict[str, int] = Field(
        default_factory=dict,
        description='Concurrent runs per flow, as JSON: {"caption_ocr": 4}; others as in dagster.yaml.',
    )
    pool_slots: dict[str, int] = Field(
        default_factory=dict,
        description='Slots of Dagster\'s pools, as JSON: {"compute": 2}; others as set in Dagster.',
    )
    inbox: Path | None = Field(default=None, description="Folder whose files become videos; unset: `inbox` under home.")

    @field_validator(
        "webhook_secret",
        "webhook_signing_secret",
        "metrics_token",
        "trusted_proxies",
        "api_hosts",
        "cors_origins",
        "subtitle_include",
        mode="before",
    )
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("rate_limit_webhooks", "rate_limit_client", "rate_limit_tenant", "rate_limit_failures")
    @classmethod
    def _rate_limit(cls, value: str) -> str:
        from limits import parse

        parse(value)
        return value

    @field_validator("home", "inbox")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # Made absolute at once: run workers may start in another folder.
        return value if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _complete_services(self) -> Settings:
        if self.supabase_url and not self.supabase_service_role_key:
            raise ValueError("SUPABASE_URL is set but SUPABASE_SERVICE_ROLE_KEY is not")
        if self.wasabi_bucket and not (self.wasabi_access_key and self.wasabi_secret_key):
            raise ValueError("WASABI_BUCKET is set but WASABI_ACCESS_KEY or WASABI_SECRET_KEY is not")
        return self

    @property
    def catalog_kind(self) -> Literal["supabase", "postgres", "embedded"]:
        """The kind of catalog these settings choose."""
        if self.supabase_url:
            return "supabase"
        return "postgres" if self.database_url else "embedded"

    @property
    def storage_kind(self) -> Literal["s3", "local"]:
        """The kind of object store these settings choose."""
        return "s3" if self.wasabi_bucket else "local"

    @property
    def endpoint_url(self) -> str:
        """The store's endpoint; by default Wasabi's for the region."""
        return self.wasabi_endpoint_url or f"https://s3.{self.wasabi_region}.wasabisys.com"

    @property
    def dagster_home(self) -> Path:
        """Folder of the Dagster instance of the embedded system."""
        return self.home / "dagster"

    @property
    def objects_dir(self) -> Path:
        """Folder of the local object store."""
        return self.home / "objects"

    @property
    def models_dir(self) -> Path:
        """Folder of the models that were fetched for further languages."""
        return self.home / "models"

    @property
    def inbox_dir(self) -> Path:
        """Folder whose files become videos."""
        return self.inbox or self.home / "inbox"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings, read once per process."""
    return Settings()
