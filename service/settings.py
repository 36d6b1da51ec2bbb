"""All settings of the service: each is an option of `serve`, an `AFFECTSTREAM_` variable and a key of a settings file.

An option precedes a variable, a variable the file, and the file the default.
"""

import difflib
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, SettingsConfigDict
from pydantic_settings.sources import PydanticBaseSettingsSource

from models.errors import UserError
from service.config_file import VARIABLE, ConfigFile, read_config, read_secret
from service.printable import printable
from service.purpose import PURPOSES, read_purpose
from service.redact import redact_text
from service.roles import NAMES, Role, parse_token

_PREFIX = "AFFECTSTREAM_"
_READ_ELSEWHERE = {VARIABLE, *(f"{_PREFIX}{name}" for name in ("CACHE", "MAX_MEGAPIXELS", "SHARED"))}
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
DEFAULT_MODEL = "face-mt"
DEFAULT_ENGINE = "openvino"
DEFAULT_SESSIONS = 16
IN_FILES = ("token", "tokens", "redis", "mqtt", "webhook_secret")  # secrets that a file may hold: NAME_file
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")  # of a path; no "//", which browsers take for another host
SLOWEST, FASTEST = 1.0, 120.0  # events a second: tracks are forgotten after 2 s, and no camera gives more
Smoothing = Literal["off", "normal", "strong"]


log = logging.getLogger(__name__)


class Settings(BaseSettings):
    """Hold the settings of the service.

    The defaults are safe: loopback only, no foreign origins, and the API may open the demo and cameras alone.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_nested_delimiter=None, env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address to bind; any other than loopback needs a token")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one")
    root_path: str = Field(
        "", description="Path under which a proxy serves this, such as /affect; the proxy removes it"
    )
    token: SecretStr | None = Field(None, description="Bearer token that guards every route but /healthz and /notice")
    token_file: Path | None = Field(None, description="File that holds the token")
    tokens: Annotated[list[SecretStr], NoDecode] = Field(
        [],
        description=f"Further tokens, ROLE:TOKEN, comma separated; ROLE is one of {NAMES}; `token` has manage",
    )
    tokens_file: Path | None = Field(None, description="File that holds one ROLE:TOKEN a line")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM); browsers give cameras only to https")
    tls_key: Path | None = Field(None, description="Private key (PEM)")
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Web origins besides the service's own that may call the API, comma separated"
    )
    frame_ancestors: Annotated[list[str], NoDecode] = Field(
        [], description="Web origins whose pages may show the dashboard in a frame, comma separated"
    )
    allowed_sources: Annotated[list[str], NoDecode] = Field(
        ["demo:", "camera:"], description="Prefixes of sources that the API may open, comma separated"
    )
    source: Annotated[list[str], NoDecode] = Field([], description="Sources opened at start, [NAME=]SRC")
    purpose: str | None = Field(
        None, description=f"What sessions without a purpose of their own are for: {', '.join(PURPOSES)}: and what it is"
    )
    contact: str | None = Field(
        None, max_length=300, description="Who runs the service and answers questions about it, shown on /notice"
    )
    redis: SecretStr | None = Field(None, description="Redis URL; events go to streams affect:{session}")
    redis_file: Path | None = Field(None, description="File that holds the Redis URL")
    redis_ttl: int = Field(3600, ge=0, description="Seconds that a Redis stream outlives its last event; 0: for ever")
    lsl: bool = Field(False, description="Offer each face, and markers, as Lab Streaming Layer outlets")
    redis_markers: str | None = Field(
        None, description="Name of a stream of that Redis whose entries become markers (field `label`)"
    )
    lsl_markers: str | None = Field(None, description="Name of a Lab Streaming Layer stream whose texts become markers")
    osc: str | None = Field(None, description="HOST:PORT that gets the values as Open Sound Control messages (UDP)")
    mqtt: SecretStr | None = Field(
        None, description="MQTT broker, mqtt://USER:PASSWORD@HOST:PORT/PREFIX; announces itself to Home Assistant"
    )
    mqtt_file: Path | None = Field(None, description="File that holds the broker's URL")
    webhook: Annotated[list[SecretStr], NoDecode] = Field(
        [], description="URLs that get each alert by POST, comma separated"
    )
    webhook_secret: SecretStr | None = Field(None, description="Key that webhooks are signed with (HMAC-SHA256)")
    webhook_secret_file: Path | None = Field(None, description="File that holds the key")
    rule: Annotated[list[str], NoDecode] = Field(
        [], description="Rules that raise alerts, such as `frown: AU04 > 0.7 for 2 s`, comma separated"
    )
    model: str = Field(DEFAULT_MODEL, description="Model that reads the faces")
    engine: str = Field(DEFAULT_ENGINE, description="BACKEND[:PRECISION]")
    pool: str | None = Field(
        None,
        description="Ray cluster that runs the model for many services, ADDRESS[?replicas=MIN..MAX&cpus=N&gpus=SHARE]",
    )
    untrained: bool = Field(False, description="Let a model that has no weights run on random ones")
    model_option: Annotated[list[str], NoDecode] = Field(
        [], description="NAME=VALUE for the model, such as rate=5, comma separated"
    )
    ice_servers: Annotated[list[str], NoDecode] = Field([], description="STUN/TURN URLs for WebRTC, comma separated")
    workers: int = Field(
        0, ge=0, le=256, description="Processes that read faces; 0: one for each core, as sessions come"
    )
    cluster: str | None = Field(
        None, description="Ray cluster whose nodes run the workers: auto, HOST:PORT or ray://HOST:PORT"
    )
    max_sessions: int = Field(DEFAULT_SESSIONS, ge=1, description="Sessions open at once")
    max_subscribers: int = Field(64, ge=1, description="WebSocket and preview clients at once")
    max_request_bytes: int = Field(65_536, ge=1024, description="Largest request body and WebSocket message")
    max_header_bytes: int = Field(32_768, ge=1024, le=1 << 20, description="Largest head of a request")
    header_seconds: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="Seconds in which a request's head must arrive"
    )
    body_seconds: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="Seconds in which a request's body must arrive"
    )
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
        description="Factor on the measured weight of the voice in the face's values; 0: shown, not fused",
    )
    smoothing: Smoothing = Field(
        "normal", description="How strongly valence, arousal and expressions are smoothed: off, normal, strong"
    )
    rate: float | None = Field(
        None, ge=SLOWEST, le=FASTEST, allow_inf_nan=False, description="Events a second of a session at most (1 to 120)"
    )
    max_models: int = Field(
        2, ge=1, le=16, description="Models in memory at once, if sessions ask for others than --model; 1: that alone"
    )
    gaze: bool = Field(False, description="Read where each face looks, about 20 degrees off without calibration")
    max_megapixels: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Million pixels that a picture may have (64; of a film 36)"
    )
    max_faces: int = Field(20, ge=1, le=100, description="Faces read per frame")
    max_batch: int = Field(0, ge=0, le=1024, description="Faces per engine call, over all sessions; 0: 16, on a GPU 64")
    max_wait_ms: float | None = Field(
        None, ge=0, le=100, description="Milliseconds a busy process lets a batch wait for other sessions (20; GPU 0)"
    )

    session_metrics: bool = Field(False, description="Add figures of each session to /metrics, with its name")
    log_format: Literal["text", "json"] = Field("text", description="Form of a line of the log")

    @field_validator(
        "allowed_origins",
        "frame_ancestors",
        "allowed_sources",
        "source",
        "ice_servers",
        "model_option",
        "rule",
        "tokens",
        "webhook",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("token", "purpose", "contact", mode="before")
    @classmethod
    def _no_empty_text(cls, value: object) -> object:
        """Return None for an empty text, such as that of an empty variable; an empty token would let everybody in."""
        return (value.strip() or None) if isinstance(value, str) else value

    @field_validator("purpose")
    @classmethod
    def _known_purpose(cls, value: str | None) -> str | None:
        try:
            return None if value is None else read_purpose(value)
        except UserError as error:
            raise ValueError(str(error)) from None

    @field_validator("root_path")
    @classmethod
    def _clean_prefix(cls, value: str) -> str:
        prefix = value.strip().rstrip("/")
        if prefix and not PREFIX.fullmatch(prefix):
            raise ValueError(f"{value[:80]!r} is no path; write it like /affect")
        return prefix

    @model_validator(mode="after")
    def _read_secrets(self) -> Self:
        for name in IN_FILES:
            path = getattr(self, f"{name}_file")
            if path is None:
                continue
            option = name.replace("_", "-")
            if getattr(self, name):
                raise ValueError(f"--{option} and --{option}-file are both given; leave one out")
            try:
                text = read_secret(path, name)
            except UserError as error:
                raise ValueError(str(error)) from None
            lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
            setattr(self, name, [SecretStr(line) for line in lines] if name == "tokens" else SecretStr(text))
        return self

    @model_validator(mode="after")
    def _safe(self) -> Self:
        try:
            guarded = bool(self.roles())
        except UserError as error:
            raise ValueError(f"--tokens: {error}") from None
        if self.host not in LOOPBACK and not guarded:
            raise ValueError(
                f"host {printable(self.host)} is reachable from other machines: set --token (or AFFECTSTREAM_TOKEN)"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key belong together: give both")
        if self.redis_markers is not None and self.redis is None:
            raise ValueError("--redis-markers names a stream of the Redis that --redis gives: give both")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise ValueError(f"{printable(path)}: no such file; give a PEM file")
        return self

    def roles(self) -> dict[str, Role]:
        """Return the role of each token; empty where none is set, and everybody may do everything.

        Raise `UserError` for an entry of `tokens` that is not ROLE:TOKEN, and for a token that is set twice.
        """
        roles = {} if self.token is None else {self.token.get_secret_value(): Role.MANAGE}
        for entry in self.tokens:
            token, role = parse_token(entry.get_secret_value())
            if token in roles:
                raise UserError("the same token is set twice; give each holder one of their own")
            roles[token] = role
        return roles


@dataclass(frozen=True)
class ResolvedSettings:
    """Hold the settings, and where the value of each that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]  # an option, a variable or the path of the settings file, by the setting's name
    file: ConfigFile
    unknown: Sequence[str]  # variables that begin with AFFECTSTREAM_ and are no settings

    def warn(self) -> None:
        """Log a warning for each variable that begins with AFFECTSTREAM_ and is no setting."""
        for name in self.unknown:
            log.warning("the variable %s is not known, and changes nothing", name)


def load_settings(config: Path | None = None, **options: Any) -> Settings:
    """Return settings from `options` that are not None, else the environment, else a settings file, else the defaults.

    Raise `UserError` with one sentence for the first bad value, for a variable that looks like a misspelt one, and for
    a settings file (`service.config_file.read_config`) that cannot be used.
    """
    resolved = read_settings(config, options)
    resolved.warn()
    return resolved.settings


def read_settings(config: Path | None, options: Mapping[str, Any]) -> ResolvedSettings:
    """Return settings as `load_settings` does, with where each came from; log nothing."""
    unknown = _check_names(os.environ)
    file = read_config(config, Settings.model_fields)
    given = {name: value for name, value in options.items() if value is not None}
    origins = _origins(given, file)
    for name in IN_FILES:  # where both a secret and its file are given, keep the one of the higher rank
        in_file = f"{name}_file"
        if name in origins and in_file in origins:
            rank, rank_of_file = (_rank(origins[one], file) for one in (name, in_file))
            if rank != rank_of_file:
                weaker = in_file if rank < rank_of_file else name
                given[weaker] = Settings.model_fields[weaker].default
                del origins[weaker]
    try:
        return ResolvedSettings(_with_file(file)(**given), origins, file, unknown)
    except ValidationError as error:
        raise UserError(_sentence(error, origins, file)) from None


def _with_file(file: ConfigFile) -> type[Settings]:
    """Return the settings' class with the file's values as the source behind the environment."""

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, dict(file.values))

    FromFile.__name__ = FromFile.__qualname__ = Settings.__name__
    return FromFile


def _origins(options: Mapping[str, Any], file: ConfigFile) -> dict[str, str]:
    variables = {name.upper() for name, text in os.environ.items() if text}
    origins: dict[str, str] = {}
    for name in Settings.model_fields:
        if name in options:
            origins[name] = f"--{name.replace('_', '-')}"
        elif (variable := f"{_PREFIX}{name.upper()}") in variables:
            origins[name] = variable
        elif name in file.values:
            origins[name] = file.label
    return origins


def _rank(origin: str, file: ConfigFile) -> int:
    return 2 if origin == file.label else 0 if origin.startswith("--") else 1


def _sentence(error: ValidationError, origins: Mapping[str, str], file: ConfigFile) -> str:
    """Return a sentence about the first bad value: where it came from, the value unless it is secret, what to write."""
    first = error.errors()[0]
    name = "".join(str(part) for part in first["loc"][:1])
    message = first["msg"].removeprefix("Value error, ")
    if not name:
        return message
    origin = origins.get(name, name)
    place = f"{origin}: {name}" if origin == file.label else origin
    if first["type"] == "value_error":
        return f"{place}: {message}"
    field = Settings.model_fields[name]
    value = "" if is_secret(name) else f" = {redact_text(str(first['input']))[:80]!r}"
    example = "" if field.default in (None, "", []) else f", such as {shown_default(name)}"
    return f"{place}{value}: {message[:1].lower()}{message[1:]}; {name} is: {field.description}{example}"


def is_secret(name: str) -> bool:
    """Return whether a setting holds secrets, which are never shown."""
    return "SecretStr" in str(Settings.model_fields[name].annotation)


def shown_default(name: str) -> str:
    """Return the default of a setting as the README shows it."""
    default = Settings.model_fields[name].default
    return ",".join(default) if isinstance(default, list) else "" if default is None else str(default)


def _check_names(variables: Iterable[str]) -> list[str]:
    """Raise `UserError` for a variable AFFECTSTREAM_... that is no setting and is spelt nearly like one.

    Return the others that are no settings. Kubernetes sets such variables, named after its services, for example
    AFFECTSTREAM_SERVICE_HOST.
    """
    unknown: list[str] = []
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields} | _READ_ELSEWHERE
    for name in sorted(name.upper() for name in variables):
        if not name.startswith(_PREFIX) or name in known:
            continue
        near = difflib.get_close_matches(name, known, 1, 0.9)
        if near:
            raise UserError(f"the variable {name} is not known; did you mean {near[0]}?")
        unknown.append(name)
    return unknown


def settings_table() -> str:
    """Return the settings as a Markdown table, for the README."""
    rows = ["| option of `serve` | variable | default | what |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        shown = f"`{default}`" if (default := shown_default(name)) else ""
        rows.append(f"| `--{name.replace('_', '-')}` | `AFFECTSTREAM_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)
