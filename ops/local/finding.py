"""What a check of the doctor found."""

from collections.abc import Callable
from dataclasses import dataclass, field

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and the command that fixes it if it failed.

    `warns` says that it works, and that a default deserves a decision. `fix` then names the setting. `repair` does what
    `fix` says and returns a sentence about it, where that can lose nothing. It raises LoraLoopError.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    warns: bool = False
    repair: Callable[[Tell], str] | None = field(default=None, compare=False, repr=False)

    @property
    def level(self) -> str:
        """`ok`, `warning`, or `fix` for a check that failed."""
        return "fix" if not self.ok else "warning" if self.warns else "ok"
