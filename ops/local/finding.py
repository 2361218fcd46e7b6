"""What a check of the doctor found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and the command that fixes it if it failed.

    `warns` says that it works, and that a default deserves a decision. `fix` then names the setting.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    warns: bool = False

    @property
    def level(self) -> str:
        """`ok`, `warning`, or `fix` for a check that failed."""
        return "fix" if not self.ok else "warning" if self.warns else "ok"
