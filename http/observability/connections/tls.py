"""TLS: the server's certificate, and the versions and ciphers it is offered with."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

from observability.config.setting import shown
from observability.errors import ConfigError

logger = logging.getLogger(__name__)

# RFC 9325 section 4.2: only forward secrecy and AEAD, which is all that TLS 1.3 has.
_TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ALPN: Final = ("http/1.1",)


class Certificate:
    """A certificate and its key, read from files. Raises ConfigError if the files are not a pair."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self.context = make_context(cert, key)
        """For new connections; existing ones keep the context they began with."""

    def reload(self) -> None:
        """Reads the files again. If they are no longer a pair, the old certificate stays, and the log says so."""
        try:
            self.context = make_context(self._cert, self._key)
        except ConfigError as error:
            logger.error("the TLS certificate was not replaced, the old one stays: %s", "; ".join(error.faults))
        else:
            logger.info("the TLS certificate was read again from %s; new connections use it", self._cert)


def make_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Returns a context for a server; raises ConfigError if the files are not a pair."""
    # Not create_default_context, which writes session keys to the file that SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(_ALPN)
    # OpenSSL does not always say which of the files is at fault.
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
    # Without this, OpenSSL prompts for a passphrase on the terminal while the server waits.
    raise ValueError("the key has a passphrase")
