"""What a session may choose for itself, and what it gets: model, voice, smoothing and rate."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from engines import weights
from engines.papers import boosted, store
from models import registry
from models.errors import UserError
from service.settings import DEFAULT_MODEL, FASTEST, SLOWEST, Settings, Smoothing


class NotOffered(UserError):
    """Report an option of a session that this server cannot give (HTTP 422)."""


_MODEL = "Model that reads the faces; the server's choice without one"
_VOICE = "Whether the voice is read too (face-mt alone); the server's choice without one"
_SMOOTHING = "How strongly valence, arousal and expressions are smoothed; the server's choice without one"
_RATE = "Events a second at most; without one the server's limit, and where it has none, one for each picture"

RequestedModel = Annotated[str | None, Field(max_length=64, description=_MODEL, examples=["face-mt"])]
RequestedVoice = Annotated[bool | None, Field(description=_VOICE)]
RequestedSmoothing = Annotated[Smoothing | None, Field(description=_SMOOTHING)]
RequestedRate = Annotated[
    float | None, Field(ge=SLOWEST, le=FASTEST, allow_inf_nan=False, description=_RATE, examples=[10])
]


class RequestedOptions(BaseModel):
    """Hold the options that a request sets for a session; None takes what the server was started with."""

    model_config = ConfigDict(extra="forbid")

    # JSON has truth values and numbers of its own; in an address they are text.
    model: RequestedModel = None
    voice: Annotated[RequestedVoice, Field(strict=True)] = None
    smoothing: RequestedSmoothing = None
    rate: Annotated[RequestedRate, Field(strict=True)] = None


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Hold the options that a session has.

    Attributes:
        model: Name of the model that reads the faces.
        voice: Whether the voice is read beside it; None where the model takes sound by itself, or none at all.
        smoothing: How strongly the values are smoothed.
        rate: Events a second at most; None makes one for each picture.
    """

    model: str = DEFAULT_MODEL
    voice: bool | None = True
    smoothing: Smoothing = "normal"
    rate: float | None = None

    def as_request(self) -> dict[str, Any]:
        """Return the options that are set as the fields of a request that asks for the same."""
        fields = {"model": self.model, "voice": self.voice, "smoothing": self.smoothing, "rate": self.rate}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Offer:
    """Hold what the sessions of a server may choose from.

    Attributes:
        given: The options of a session that asks for nothing.
        voice: Whether the server reads voices.
        models: Returns the names of the models that can be had; weights may be imported while the server runs.
    """

    given: SessionOptions
    voice: bool
    models: Callable[[], Collection[str]]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what a server with these settings offers."""
        voice = settings.voice if settings.model == DEFAULT_MODEL else None
        return cls(
            SessionOptions(settings.model, voice, settings.smoothing, settings.rate),
            settings.voice,
            partial(available, settings),
        )

    def decide(self, asked: RequestedOptions | None) -> SessionOptions:
        """Return the options of a session that asks for this. Raise `NotOffered` for what the server cannot give."""
        asked = asked or RequestedOptions()
        model = asked.model or self.given.model
        if model != self.given.model and model not in (known := self.models()):
            raise NotOffered(f"the model {model!r} is not available here; available are: {', '.join(known)}")
        return SessionOptions(
            model,
            self._voice(model, asked.voice),
            asked.smoothing or self.given.smoothing,
            self.given.rate if asked.rate is None else asked.rate,
        )

    def _voice(self, model: str, asked: bool | None) -> bool | None:
        if model != DEFAULT_MODEL:
            if asked is not None:
                raise NotOffered(
                    f"voice cannot be chosen for the model {model}, which takes sound by itself or not at all; "
                    f"leave it out, or take the model {DEFAULT_MODEL}"
                )
            return None
        if asked and not self.voice:
            raise NotOffered("this server was started without voices (--no-voice); leave voice out, or say false")
        return self.voice if asked is None else asked


def available(settings: Settings) -> tuple[str, ...]:
    """Return the names of the models that a session may have: the server's first, then those whose weights are here.

    With a pool or one model at most it is the server's alone, and with `untrained` every model that can be served.
    """
    if settings.pool or settings.max_models < 2:
        return (settings.model,)
    here = set(weights.models())
    here |= {name for name in registry.systems() if all(map(store.known, registry.row(name).parts))}
    here |= {boosted.MODEL} if store.known(boosted.MODEL) else set()
    others = [name for name in registry.served() if name != settings.model and (settings.untrained or name in here)]
    return (settings.model, *others)
