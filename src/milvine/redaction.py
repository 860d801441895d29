"""Values as they may be shown, logged or put into an error: without the passwords and keys
in them.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
# fmt: off
_HARMLESS = frozenset((
    "host", "hostaddr", "port", "dbname", "user", "passfile", "service", "connect_timeout",
    "application_name",
    "fallback_application_name", "client_encoding", "keepalives", "keepalives_idle",
    "keepalives_interval",
    "keepalives_count", "tcp_user_timeout", "sslmode", "sslnegotiation", "sslcompression",
    "sslcert", "sslkey",
    "sslcertmode", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "requirepeer", "require_auth", "channel_binding", "krbsrvname",
    "gssencmode", "gsslib",
    "gssdelegation", "target_session_attrs", "load_balance_hosts",
))
# fmt: on
"""Parameters of PostgreSQL's addresses that are no secrets. Whatever else an address has is hidden:
`sslpassword` is not the last one to be invented."""
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;\s]*)=([^&;\s]*)")


def without_secrets(url: str) -> str:
    """An address as it may be shown. Text that is none comes back as it is."""
    scheme = url.partition("://")[0]
    shown = rf"\1:{HIDDEN}@"
    if scheme in ("http", "https"):  # where a token may stand for the user
        url, shown = re.sub(r"(?<=://)[^:@/?\s]+@", f"{HIDDEN}@", url), f"{HIDDEN}@"
    url = re.sub(r"(?<=://)([^:@/?\s]*):\S+@", shown, url)
    return _PARAMETER.sub(_shown_parameter, url)


def _shown_parameter(found: re.Match[str]) -> str:
    name, value = found.groups()
    return found[0] if unquote(name) in _HARMLESS or not value else f"{name}={HIDDEN}"


def secret_parameters(parameters: dict[str, object]) -> list[str]:
    """The values of an address's parameters that may not be shown, longest first."""
    found = {str(value) for name, value in parameters.items() if name not in _HARMLESS and value}
    return sorted(found, key=len, reverse=True)


def as_shown(name: str, text: str) -> str:
    """The value of a key as it may be shown; `name` is one such as
    `storage.s3_secret_key`, or of that kind."""
    if re.search("secret|password|access_key|token$", name) and text:
        return HIDDEN
    if "://" in text:
        return text if text == "sqlite://:@:/" else without_secrets(text)
    return HIDDEN if name == "general.meta_uri" and text else text  # `host=... password=...`
