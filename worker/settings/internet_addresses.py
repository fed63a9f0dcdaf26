"""Addresses of the configuration that connections come from: numbers, for a name is not what a connection shows."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ValueError("must be an IP address such as 192.0.2.7, no name and no network") from error


def _network(given: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(given)  # type: ignore[arg-type]  # of anything else it says the same
    except ValueError as error:
        raise ValueError("must be an IP address or a network such as 192.0.2.7 or 192.0.2.0/28") from error


Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
