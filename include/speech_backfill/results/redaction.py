"""Takes the query, and with it any SAS, out of URLs and of messages that quote URLs; it never judges whether a URL is right."""

from __future__ import annotations

import re

_URL_WITH_QUERY = re.compile(r"(?P<url>https?://[^\s?\"'<>]+)\?[^\s\"'<>]*", re.IGNORECASE)


def without_query(url: str) -> str:
    """The *url* up to its query: what may be stored and shown."""
    return url.partition("?")[0]


def without_queries(message: str) -> str:
    """The *message* with the query of every URL in it removed."""
    return _URL_WITH_QUERY.sub(r"\g<url>", message)
