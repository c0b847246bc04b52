"""How the service is set: `FLASHSALE_SERVE_*` environment variables, each also an option of `python -m ml serve`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from flashsale.errors import InputError


class ServeSettings(BaseSettings):
    """Every setting of the service; each can be given as `FLASHSALE_SERVE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="FLASHSALE_SERVE_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8095, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    tokens: Path | None = Field(default=None, description="file of `name:sha256hex-of-token` lines")
    reload_seconds: float = Field(default=30, gt=0, description="how often the registry is asked for the champion")
    window_ms: float = Field(default=0, ge=0, le=1000, description="how long a model call waits for more requests")
    batch_texts: int = Field(default=64, ge=1, description="most texts that are joined into one model call")
    queue_texts: int = Field(default=512, ge=1, description="most texts that may wait for the model")
    max_texts: int = Field(default=256, ge=1, description="most texts of one request")
    max_characters: int = Field(default=5000, ge=1, description="most characters of one text")
    max_bytes: int = Field(default=1_048_576, ge=1, description="most bytes of one request's body")
    body_seconds: float = Field(default=10, gt=0, description="a body must have arrived after this long")
    texts_per_second: float = Field(default=200, gt=0, description="texts a second of one token, on average")
    burst_texts: int = Field(default=1024, ge=1, description="texts that one token may send at once")
    drain_seconds: float = Field(default=20, gt=0, description="requests in flight may take this long after SIGTERM")
    linger_seconds: float = Field(default=1, ge=0, description="least time in which a draining service still answers")

    @model_validator(mode="after")
    def _one_request_fits(self) -> ServeSettings:
        """A request of the largest size must be able to pass, or its sender would be told to wait for ever."""
        for name in ("queue_texts", "burst_texts"):
            if getattr(self, name) < self.max_texts:
                raise ValueError(f"{name} is below max_texts: the largest request could never be served")
        if self.linger_seconds > self.drain_seconds:
            raise ValueError("linger_seconds is above drain_seconds")
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def serve_settings(**given: Any) -> ServeSettings:
    """The settings with `given` over the environment; None means not given. Raises InputError."""
    try:
        return ServeSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or None
        remedy = "mend the option, or the variable FLASHSALE_SERVE_" + (name or "…").upper()
        raise InputError("service", first["msg"].removeprefix("Value error, "), remedy, field=name) from error
