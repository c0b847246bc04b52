"""Where things are and how the platform is set, read from `FLASHSALE_*` environment variables."""

from __future__ import annotations

import contextlib
import os
import secrets
from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting of the platform; each can be given as `FLASHSALE_<NAME>`.

    Paths are made absolute, so that a task that runs in another folder sees the same places.
    """

    model_config = SettingsConfigDict(env_prefix="FLASHSALE_", extra="ignore")

    home: Path = Field(default=Path(".flashsale"), description="Folder for everything the platform writes")
    cache: Path | None = Field(default=None, description="Converted base models and archives; `home` when absent")
    lake: str | None = Field(default=None, description="Lake folder or object-store URI (fsspec)")
    source: str | None = Field(default=None, description="Folder, http(s):// or postgresql:// source of raw events")
    warehouse_uri: str = Field(default="duckdb", description="`duckdb`, or a postgresql:// URI")
    mlflow_tracking_uri: str | None = Field(default=None, description="MLflow server or database")
    planning_lead_hours: int = Field(default=24, ge=0, description="Features of a sale are cut this long before it")
    late_days: int = Field(default=2, ge=0, description="Days read again for late records")
    max_future_minutes: int = Field(default=15, ge=0, description="Tolerance for clocks that run ahead")
    seed: int = 20261111
    threads: int = Field(default=2, ge=1, description="Threads of one heavy step")
    text_base_model: str = Field(
        default="embedded", description="`embedded`, a folder or a Hugging Face name, pinned or not (`@sha256:HEX`)"
    )
    text_config: str = Field(default="full", description="Training configuration: `demo`, `full`, or a YAML file")
    explain_texts: int = Field(default=20, ge=0, description="Scored texts of a day that are explained and kept")
    explain_days: int = Field(default=1, ge=0, description="Newest scored days that are explained; 0: none")

    @property
    def lake_uri(self) -> str:
        """The lake's address; by default a folder under `home`."""
        return self.lake or str(self.home / "lake")

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file that dbt builds in; only the build's one writer opens it."""
        return self.home / "warehouse" / "build.duckdb"

    @property
    def snapshot(self) -> Path:
        """The published, read-only DuckDB file that BI tools and `ml` read."""
        return self.home / "warehouse" / "published.duckdb"

    @property
    def models_dir(self) -> Path:
        """Converted base models and fetched registry versions."""
        return (self.cache or self.home) / "models"

    @property
    def packages_dir(self) -> Path:
        """Source archives that carry public data their wheels leave out."""
        return (self.cache or self.home) / "packages"

    @property
    def docs_dir(self) -> Path:
        """Great Expectations data docs."""
        return self.home / "data_docs"

    @property
    def tracking_uri(self) -> str:
        """MLflow's address; SQLite under `home` when none is given."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once; `settings.cache_clear()` reads them again."""
    found = Settings()
    cache = found.cache.expanduser().absolute() if found.cache else None
    return found.model_copy(update={"home": found.home.expanduser().absolute(), "cache": cache})


def pseudonym_key() -> bytes:
    """The secret key of the people's pseudonyms: `FLASHSALE_PSEUDONYM_KEY`, else a file only its owner reads.

    The file is made on first use. Losing it unlinks new pseudonyms from old ones, so back it up with the lake.
    """
    given = os.environ.get("FLASHSALE_PSEUDONYM_KEY")
    if given:
        return given.encode()
    path = settings().home / "secrets" / "pseudonym.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # written beside it and linked: whoever comes at the same moment finds a whole key or none
        whole = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(whole, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as handle:
            handle.write(secrets.token_hex(32).encode())
        with contextlib.suppress(FileExistsError):
            os.link(whole, path)
        whole.unlink()
    key = path.read_bytes()
    if not key.strip():
        from flashsale.errors import InputError

        remedy = "put the key back from its backup, or delete the empty file if nothing was ever ingested with it"
        raise InputError("pseudonym key", "its file is empty", remedy)
    return key
