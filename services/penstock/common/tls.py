"""TLS with a private certificate authority, such as that of a Kubernetes cluster."""

import ssl
from pathlib import Path


def make_ssl_context(ca_file: Path) -> ssl.SSLContext:
    """Return a context that verifies the server's name, and its certificate against the authorities in a file.

    Python 3.13 rejects authorities without a key usage extension. RFC 5280 requires it, but many clusters' authorities
    lack it, and Kubernetes' own client accepts those.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=str(ca_file))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
