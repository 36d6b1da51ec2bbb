"""The sinks that the settings name. Each is imported where it is wanted, so that a service without it starts sooner."""

from typing import Protocol, runtime_checkable

from service.publish.hub import Hub
from service.settings import Settings


class Sink(Protocol):
    """Describe where events go besides to subscribers."""

    @property
    def problem(self) -> str | None:
        """Return why events do not arrive, in a sentence; None where they do."""

    async def close(self) -> None:
        """Deliver what waits, within 2 s."""


@runtime_checkable
class Keeper(Protocol):
    """Describe a sink that keeps events: what it tells the people in view, and how it erases."""

    @property
    def name(self) -> str:
        """Return the name under which an erasure's answer counts what was removed."""

    @property
    def retention(self) -> str:
        """Return what is kept, where and for how long, in a sentence for the people in view."""

    async def erase(self, session: str) -> int:
        """Remove all that is kept of a session, open or not, and return how much. Raise `UserError` if it cannot."""


def check_sinks(settings: Settings) -> None:
    """Raise `UserError` for a sink that cannot work as it is set, before anything is loaded."""
    if settings.redis is not None:
        from service.publish.redis_sink import check_url

        check_url(settings.redis.get_secret_value())
    if settings.lsl or settings.lsl_markers is not None:
        from service.publish.lsl import library

        library("--lsl" if settings.lsl else "--lsl-markers")
    if settings.osc is not None:
        from service.publish.osc import address_of

        address_of(settings.osc)
    if settings.mqtt is not None:
        from service.publish.mqtt import Broker

        Broker.of(settings.mqtt.get_secret_value())
    if settings.webhook:
        from service.publish.webhook import check_webhook, signing_key

        for url in settings.webhook:
            check_webhook(url.get_secret_value())
        if settings.webhook_secret is not None:
            signing_key(settings.webhook_secret.get_secret_value())


def open_sinks(settings: Settings, hub: Hub) -> list[Sink]:
    """Return the sinks that the settings name, which begin to read `hub`. Raise `UserError` as `check_sinks` does."""
    sinks: list[Sink] = []
    if settings.redis is not None:
        from service.publish.redis_sink import RedisSink

        sinks.append(RedisSink(settings.redis.get_secret_value(), hub, ttl=settings.redis_ttl))
    if settings.lsl:
        from service.publish.lsl import LslSink

        sinks.append(LslSink(hub))
    if settings.osc is not None:
        from service.publish.osc import OscSink

        sinks.append(OscSink(settings.osc, hub))
    if settings.mqtt is not None:
        from service.publish.mqtt import MqttSink

        sinks.append(MqttSink(settings.mqtt.get_secret_value(), hub))
    if settings.webhook:
        from service.publish.webhook import Webhook

        secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret is not None else None
        sinks += [Webhook(url.get_secret_value(), hub, secret) for url in settings.webhook]
    return sinks
