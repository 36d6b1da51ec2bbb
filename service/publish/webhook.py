"""Alerts to a web address of the operator's: POST of the event, signed as Standard Webhooks 1.0 asks, and retried.

The address comes from the settings alone and redirects are not followed, so that no caller of the API can make the
service ask another host. An address that hangs delays its own alerts and nothing else.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import random
import time
from urllib.parse import urlsplit

import httpx

from models.errors import UserError
from service import metrics
from service.events import Event
from service.publish.draining import DRAIN_TIMEOUT, drain
from service.publish.hub import Hub
from service.redact import check_address, redact, redact_setting

SINK = "webhook"
BUFFER = 256  # alerts that wait at most
ANSWER_WITHIN = 5.0  # s
ATTEMPTS = 6  # for one alert
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # s between them, doubling, with jitter
REASONS = ("unreachable", "timeout", "refused")
_MAY_PASS = frozenset({408, 425, 429})  # statuses below 500 that another attempt may change
_KEY_PREFIX = "whsec_"  # before a key in Base64, as Standard Webhooks writes it

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every address, and theirs may hold secrets


class Webhook:
    """Post the alerts of all sessions to one address until closed. Made and used on the hub's loop."""

    problem = None  # an address that takes no alerts does not stop faces from being read; metrics and the log show it

    def __init__(self, url: str, hub: Hub, secret: str | None) -> None:
        """Begin to post to `url`; `secret` is the key that the requests are signed with, None for none."""
        self.label = redact(url)
        self._url = url
        self._key = signing_key(secret) if secret else None
        self._client = httpx.AsyncClient(timeout=ANSWER_WITHIN, follow_redirects=False)
        self._subscription = hub.subscribe(maxlen=BUFFER, sink=SINK, kinds={"alert"})
        self._reason = ""  # of REASONS, of the newest failure; empty while alerts are taken
        self._task = asyncio.create_task(self._run(), name="webhook")

    async def close(self) -> None:
        """Post what waits, if it is answered within `DRAIN_TIMEOUT`; the rest is lost and counted."""
        await drain(self._task, self._subscription, DRAIN_TIMEOUT)
        await self._client.aclose()

    async def _run(self) -> None:
        async for event in self._subscription:
            if not await self._deliver(event):
                metrics.EVENTS_DROPPED.labels(SINK).inc()

    async def _deliver(self, event: Event) -> bool:
        """Post one alert, several times if need be, and return whether it was taken."""
        delay = FIRST_DELAY
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, LONGEST_DELAY)
            status = await self._post(event)
            if status is not None and status < 300:
                self._note("", "takes alerts")
                return True
            metrics.PUBLISH_ERRORS.labels(SINK).inc()
            if status is not None and status < 500 and status not in _MAY_PASS:
                return False
        return False

    async def _post(self, event: Event) -> int | None:
        """Return the status of the answer; None if none came."""
        body = event.text.encode()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                headers = headers_for(event, body, self._key, round(time.time()))
                # The body of the answer is not read: it may be endless.
                async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                    status = answer.status_code
        except (TimeoutError, httpx.TimeoutException):
            self._note("timeout", f"does not answer within {ANSWER_WITHIN:g} s")
            return None
        except (httpx.HTTPError, OSError) as error:
            self._note("unreachable", f"cannot be reached ({type(error).__name__})")
            return None
        if status >= 300:
            moved = "; redirects are not followed" if status < 400 else ""
            self._note("refused", f"answers {status}{moved}")
        return status

    def _note(self, reason: str, sentence: str) -> None:
        if reason == self._reason:
            return
        if self._reason:
            metrics.SINK_PROBLEM.labels(SINK, self._reason).dec()
        if reason:
            metrics.SINK_PROBLEM.labels(SINK, reason).inc()
        self._reason = reason
        log.log(logging.WARNING if reason else logging.INFO, "the webhook %s %s", self.label, sentence)


def headers_for(event: Event, body: bytes, key: bytes | None, now: int) -> dict[str, str]:
    """Return the headers of a request: its id, the same in each attempt, the Unix time `now`, and the signature."""
    number = f"{event.session}-{event.incarnation}-{event.seq}"
    headers = {"content-type": "application/json", "webhook-id": number, "webhook-timestamp": str(now)}
    if key is not None:
        digest = hmac.new(key, f"{number}.{now}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return headers


def signing_key(secret: str) -> bytes:
    """Return the key in `secret`: Base64 after `whsec_`, else the text itself. Raise `UserError` if it is malformed."""
    if not secret.startswith(_KEY_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_KEY_PREFIX), validate=True)
    except binascii.Error:
        raise UserError(f"--webhook-secret is not Base64 after {_KEY_PREFIX}; copy the whole key") from None


def check_webhook(url: str) -> None:
    """Raise `UserError` if `url` is no address that can be posted to."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = False
    if not usable:
        raise UserError(f"--webhook {redact_setting(url)} is no web address; write https://HOST/PATH")
    check_address(url)
