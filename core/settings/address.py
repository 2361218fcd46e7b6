"""Listen addresses and networks: parsing and validation."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

from core.errors import SettingsError


def split_listen(listen: str) -> tuple[str, int]:
    """Return host and port of an address such as `127.0.0.1:8080`, an IPv6 host without brackets.

    Raises SettingsError for anything else.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise SettingsError(f"{listen!r} is not a listen address.", hint="Write it as 127.0.0.1:8080.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(listen: str) -> bool:
    """Return whether only this machine can reach the address."""
    host, _ = split_listen(listen)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _valid_listen(text: str) -> str:
    try:
        split_listen(text)
    except SettingsError as error:
        raise ValueError(str(error).removesuffix(".")) from error
    return text


def _valid_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address or network; write it as 10.0.0.7 or 10.0.0.0/24") from error


Listen = Annotated[str, AfterValidator(_valid_listen)]
Network = Annotated[str, AfterValidator(_valid_network)]
