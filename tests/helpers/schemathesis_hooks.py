"""What Schemathesis has to know to send WHIP's bodies; its command loads this module by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def as_text(context: Any, value: Any) -> bytes:
    return str(value).encode(errors="surrogatepass")
