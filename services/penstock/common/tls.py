"""How a server is trusted by an authority of one's own, as Kubernetes' API server by the one that a pod is given."""

from __future__ import annotations

import ssl
from pathlib import Path


def trust(authority: Path) -> ssl.SSLContext:
    """Return what checks a server's name, and its certificate against one authority's.

    Python 3.13 refuses authorities without a key usage extension, which RFC 5280 wants and many a cluster's lacks.
    Other clients of Kubernetes, its own among them, accept those.
    """
    context = ssl.create_default_context(cafile=str(authority))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
