"""What an act of a person changes on a model, in the shape that the ops API returns and the command line prints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves a model. Shares are of its users, 0 to 1; None is a share that is not known before the change."""

    champion: int
    canary: int | None
    share: float | None
    paused: bool
    holdback: float | None
    frozen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """What changed on a model, by the decision in the ledger, and what serves now.

    `gateways`, `in_flight`, `ms` and `complete` say how the routing table reached the gateways; they are None where it
    stays as it is. With `dry_run` nothing changed: `serves` is what would serve, and there is no decision.
    """

    dry_run: bool = False
    model: str
    verdict: str
    from_version: int | None
    to_version: int | None
    reason: str
    decision_id: str | None = None
    seq: int | None = None
    actor: str | None = None
    comment: str = ""
    serves: Serving
    quarantine: dict[str, Any] | None = None
    gateways: int | None = None
    in_flight: int | None = None
    ms: float | None = None
    complete: bool | None = None


def planned(
    now: Mapping[str, Any],
    verdict: str,
    to_version: int | None,
    reason: str,
    *,
    comment: str = "",
    quarantine: dict[str, Any] | None = None,
    **changes: Any,
) -> ModelChange:
    """What an act would change on a model, whose row in `/api/models` is `now`. `changes` are those of its `serves`."""
    paused, held = now["paused"] is not None, now["holdback"]
    share = 0.0 if paused or now["share"] is None else now["share"]
    before = Serving(
        now["champion"], now["canary"], share, paused, held["share"] if held else 0.0, now["frozen"] is not None
    )
    return ModelChange(
        dry_run=True,
        model=now["model"],
        verdict=verdict,
        from_version=now["champion"],
        to_version=to_version,
        reason=reason,
        comment=comment,
        quarantine=quarantine,
        serves=replace(before, **changes),
    )
