"""Exit with 0 if the service in this container answers `/healthz`. With TLS the certificate is not verified."""

import os
import ssl
import sys
import urllib.request

PORT = os.environ.get("AFFECTSTREAM_PORT", "8000")
HOST = os.environ.get("AFFECTSTREAM_HOST", "127.0.0.1")
SCHEME = "https" if os.environ.get("AFFECTSTREAM_TLS_CERT") else "http"

name = "127.0.0.1" if HOST in ("0.0.0.0", "::") else HOST  # noqa: S104 # a service on every address answers on loopback too
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    with urllib.request.urlopen(f"{SCHEME}://{name}:{PORT}/healthz", timeout=3, context=context) as answer:  # noqa: S310
        sys.exit(answer.status != 200)
except OSError as error:
    sys.exit(f"{SCHEME}://{name}:{PORT}/healthz does not answer: {error}")
