"""TLS: the certificate, and on which terms it is offered.

No connections here (see `tls_connection.py`).
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

from observability.config.setting import shown
from observability.errors import ConfigError

logger = logging.getLogger(__name__)

# RFC 9325 section 4.2: forward secrecy and AEAD only. TLS 1.3 has no others.
_TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ALPN: Final = ("http/1.1",)


class Certificate:
    """A certificate with its key, read from files, and read again when asked to."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises ConfigError if the files do not make a pair."""
        self._cert = cert
        self._key = key
        self.context = make_context(cert, key)
        """For connections that begin now; those that exist keep theirs."""

    def reload(self) -> None:
        """Reads the files again; if they are no longer a pair, what was there stays, and the log says so."""
        try:
            self.context = make_context(self._cert, self._key)
        except ConfigError as error:
            logger.error("the certificate was not replaced: %s", "; ".join(error.faults))
        else:
            logger.info("the certificate was read again from %s", self._cert)


def make_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Returns a server's context; raises ConfigError if the files do not make a pair."""
    # Not create_default_context: that writes session keys to where SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(_ALPN)
    # Which file is at fault, OpenSSL does not always say.
    names = f"TLS_CERT {shown(cert)}, TLS_KEY {shown(key)}"
    expected = "expected a certificate chain and its own private key, in PEM, without a passphrase"
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise ConfigError([f"{names}: {(error.reason or 'not PEM').replace('_', ' ').lower()}, {expected}"]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"{names}: {getattr(error, 'strerror', None) or error}, {expected}"]) from None
    return context


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal, and the server waits.
    raise ValueError("the key has a passphrase")
