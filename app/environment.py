"""The process' environment variables, as people mean them."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from app.written import cut

PREFIX: Final = "PALAVER_"
# Kubernetes sets these in every container beside a service that is called palaver.
_SERVICE_VARIABLE: Final = re.compile(r"PALAVER_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable of Palaver's that no setting has; `nearest` is the one that may be meant."""

    name: str
    nearest: str | None


def read_environment() -> Mapping[str, str]:
    """Read the variables, without what tools leave around their names and values."""
    variables = {cut(name): cut(value) for name, value in os.environ.items()}
    if _SERVICE_ADDRESS.match(variables.get("PALAVER_PORT", "")):
        del variables["PALAVER_PORT"]
    return variables


def unknown_variables(variables: Collection[str], settings: Collection[str]) -> Iterator[UnknownVariable]:
    """Find those of `variables` that look like settings and are none."""
    for name in sorted(each for each in variables if each.upper().startswith(PREFIX)):
        if name.upper() not in settings and not _SERVICE_VARIABLE.fullmatch(name):
            yield UnknownVariable(name, nearest_name(name, settings))


def nearest_name(name: str, names: Collection[str]) -> str | None:
    """Find the one of `names` that is most like a misspelt one, whatever their case and prefix."""
    bare_names = {each.upper().removeprefix(PREFIX): each for each in names}
    matches = get_close_matches(name.upper().removeprefix(PREFIX), bare_names, 1)
    return bare_names[matches[0]] if matches else None
