"""Lets senders with an RSA certificate in, such as GStreamer's: aiortc offers them no cipher that they could use."""

from typing import Any

from aiortc import RTCPeerConnection
from OpenSSL import SSL

# aiortc's own list and its RSA counterparts (RFC 8827, 6.5 asks for the first, RFC 7525 recommends the others too).
CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305"
)


def accept_rsa(connection: RTCPeerConnection) -> None:
    """Call it before the connection is set up. Whose certificate it is, the fingerprint in the SDP still decides.

    Reaches into aiortc; where a version has other insides, it does nothing and only ECDSA senders are understood.
    """
    for certificate in getattr(connection, "_RTCPeerConnection__certificates", ()):
        _widen(certificate)


def _widen(certificate: Any) -> None:
    create = certificate._create_ssl_context

    def create_ssl_context(srtp_profiles: Any) -> SSL.Context:
        context: SSL.Context = create(srtp_profiles=srtp_profiles)
        context.set_cipher_list(CIPHERS)
        return context

    certificate._create_ssl_context = create_ssl_context
