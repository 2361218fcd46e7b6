"""Do what a command asks for, and print what it changed, or with --dry-run what it would change, in the same shape."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ops.cli.output_format import print_data
from ops.cli.terminal import agreed
from ops.model_changes import ModelChange

Plan = ModelChange | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mode:
    """How a command does what it does: without a question, only as a plan, and whether it prints data."""

    yes: bool
    dry_run: bool
    as_data: bool


def carry_out(asked: str, act: Callable[[], dict[str, Any]], plan: Plan, mode: Mode) -> dict[str, Any] | None:
    """Do `act` if the person agrees to `asked`, and return what changed, None if nothing did. Raises NoTerminal.

    `plan` has what would change, with the fields of what `act` returns.
    """
    if not agreed(asked, mode.yes, mode.dry_run):
        if mode.dry_run and mode.as_data:
            print_changed(asdict(plan) if isinstance(plan, ModelChange) else plan, dry_run=True)
        return None
    done = act()
    if mode.as_data:
        print_changed(done)
    return done


def print_changed(changed: Mapping[str, Any], *, dry_run: bool = False) -> None:
    """Print what changed as one object, which says whether it is only a plan."""
    print_data({"dry_run": dry_run} | dict(changed) | {"dry_run": dry_run})
