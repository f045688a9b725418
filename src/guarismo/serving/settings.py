"""ServeSettings: every choice of `guarismo serve`, written once; the command line is generated from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from guarismo.choices import check_choices, choice
from guarismo.errors import RunError

TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{12,200}")


@dataclass(frozen=True)
class ServeSettings:
    """How a run is served. Raises RunError for a value out of range, and for an open door without a token."""

    host: str = choice("127.0.0.1", "The address to listen at; another than loopback needs --token.")
    port: int = choice(8080, "The port to listen at; 0 takes one that is free.", most=65535)
    token: str = choice("", "Whoever asks must know this word: as a bearer token, or once in the page's address.")
    runs: str = choice("runs", "Folder of the runs that are listed, and where a taught hand is kept.")
    workers: int = choice(0, "Processes that read photos; 0 takes one per processor core.", most=256)
    patience: float = choice(30.0, "Seconds within which a request must have arrived.", least=0.1, most=3600)

    def __post_init__(self) -> None:
        check_choices(self, RunError)
        if self.token and not TOKEN.fullmatch(self.token):
            raise RunError(
                "Expected --token to be 12 to 200 letters, digits or ._~+/=-. Make one with: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if not self.token and not is_loopback(self.host):
            raise RunError(
                f"{self.host} can be reached from other machines, so --token is needed. Without one, stay at 127.0.0.1 "
                "and let a proxy with a log-in of its own pass requests on, with Host: localhost."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
