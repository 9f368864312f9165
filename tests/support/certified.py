"""The certificates that the tests of TLS use: two pairs of a certificate and its key, and clients that trust one.

No tests here.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from server_process import ROOT

CERTIFICATES = ROOT / "tests" / "certificates"
FIRST = (CERTIFICATES / "first.crt", CERTIFICATES / "first.key")
SECOND = (CERTIFICATES / "second.crt", CERTIFICATES / "second.key")


def trusting(cert: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cert))
