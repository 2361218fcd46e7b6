"""Facts about exit codes: each kind of failure has its own."""

import pytest

from core.errors import (
    Conflict,
    Forbidden,
    InputError,
    KeyRefused,
    LoraLoopError,
    NoTerminal,
    NotFound,
    NotReady,
    Unreachable,
)
from loraloop.errors import Refused
from ops.cli.exit_codes import MEANINGS, code_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LoraLoopError("it failed"), 1),
        (InputError("share: above 0"), 1),
        (NoTerminal("it asks"), 2),
        (KeyRefused("a wrong key"), 4),
        (Forbidden("ops:write"), 4),
        (Refused("no such model", status=404), 5),
        (NotFound("model", "nothing"), 5),
        (NotReady("no canary"), 6),
        (Conflict("another change"), 6),
        (Unreachable("control"), 7),
    ],
)
def test_a_failure_has_the_exit_code_of_its_kind(error: LoraLoopError, code: int) -> None:
    assert code_of(error) == code and code in MEANINGS
