"""All settings of the service; each is an option of `serve` and an `AFFECTSTREAM_` environment variable."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.errors import UserError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
DEFAULT_MODEL = "face-mt"
DEFAULT_ENGINE = "openvino"
DEFAULT_SESSIONS = 16


class Settings(BaseSettings):
    """Hold the settings of the service.

    The defaults are safe: loopback only, no foreign origins, and the API may open the demo and cameras alone.
    """

    model_config = SettingsConfigDict(env_prefix="AFFECTSTREAM_", env_nested_delimiter=None)

    host: str = Field("127.0.0.1", description="Address to bind; any other than loopback needs a token")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one")
    token: SecretStr | None = Field(None, description="Bearer token that guards every route but /healthz")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM); browsers give cameras only to https")
    tls_key: Path | None = Field(None, description="Private key (PEM)")
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Web origins besides its own that may call the API, comma separated"
    )
    allowed_sources: Annotated[list[str], NoDecode] = Field(
        ["demo:", "camera:"], description="Prefixes of sources that the API may open, comma separated"
    )
    source: Annotated[list[str], NoDecode] = Field([], description="Sources opened at start, [NAME=]SRC")
    redis: SecretStr | None = Field(None, description="Redis URL; events go to streams affect:{session}")
    redis_ttl: int = Field(3600, ge=0, description="Seconds that a Redis stream outlives its last event; 0: for ever")
    model: str = Field(DEFAULT_MODEL, description="Model that reads the faces")
    engine: str = Field(DEFAULT_ENGINE, description="BACKEND[:PRECISION]")
    untrained: bool = Field(False, description="Let a system without weights run on random ones")
    model_option: Annotated[list[str], NoDecode] = Field(
        [], description="NAME=VALUE for the model, such as rate=5, comma separated"
    )
    ice_servers: Annotated[list[str], NoDecode] = Field([], description="STUN/TURN URLs for WebRTC, comma separated")
    workers: int = Field(
        0, ge=0, le=256, description="Processes that read faces; 0: one for each core, as sessions come"
    )
    max_sessions: int = Field(DEFAULT_SESSIONS, ge=1, description="Sessions open at once")
    max_subscribers: int = Field(64, ge=1, description="WebSocket and preview clients at once")
    max_request_bytes: int = Field(65_536, ge=1024, description="Largest request body and WebSocket message")
    max_header_bytes: int = Field(32_768, ge=1024, le=1 << 20, description="Largest head of a request")
    header_seconds: float = Field(10.0, gt=0, description="Seconds that a request's head may take to come in")
    body_seconds: float = Field(30.0, gt=0, description="Seconds that a request's body may take to come in")
    max_connections_per_client: int = Field(
        128, ge=0, description="Connections at once from one address; 0: any number, as behind a proxy"
    )
    max_logins_per_minute: int = Field(
        10, ge=1, description="Wrong tokens at /login that one address may send a minute; six times as many elsewhere"
    )
    voice: bool = Field(True, description="Read the voice too, and fuse it into the only face in view")
    voice_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Part of its measured weight with which the voice counts; 0: shown, not fused",
    )
    max_faces: int = Field(20, ge=1, le=100, description="Faces read per frame")
    max_batch: int = Field(0, ge=0, le=1024, description="Faces per engine call, over all sessions; 0: 16, on a GPU 64")
    max_wait_ms: float | None = Field(
        None, ge=0, le=100, description="Milliseconds a busy process lets a batch wait for other sessions (20; GPU 0)"
    )

    @field_validator("allowed_origins", "allowed_sources", "source", "ice_servers", "model_option", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("token", mode="before")
    @classmethod
    def _no_empty_token(cls, value: object) -> object:
        """Return None for an empty token, such as that of an empty variable, which would let everybody in."""
        return (value.strip() or None) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.host not in LOOPBACK and self.token is None:
            raise ValueError(f"host {self.host} is reachable from other machines: set --token (or AFFECTSTREAM_TOKEN)")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key belong together: give both")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise ValueError(f"{path}: no such file; give a PEM file")
        return self


def load_settings(**options: Any) -> Settings:
    """Return settings from the `options` that are not None, else the environment, else the defaults.

    Raise `UserError` with one sentence for the first bad value.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(str(part) for part in first["loc"][:1])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"--{name.replace('_', '-')}: {message}" if name else message) from None


def settings_table() -> str:
    """Return the settings as a Markdown table, for the README."""
    rows = ["| option of `serve` | variable | default | what |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, list) else field.default
        shown = "" if default in (None, "") else f"`{default}`"
        rows.append(f"| `--{name.replace('_', '-')}` | `AFFECTSTREAM_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)
