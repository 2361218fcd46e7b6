"""When a canary serves the anchor too, and what the ledger says about it."""

from dataclasses import dataclass
from typing import Any

from core.db import live_tests
from core.db.store import Database
from core.records import Route
from core.settings import CanarySettings
from eval.gates.anchor import AnchorLook, anchor_share
from eval.gates.canary import points


@dataclass(frozen=True, slots=True)
class ServedAnchor:
    """An anchor that a canary serves. `use` is the number of canaries that compared with it, with this one."""

    version: int
    use: int


def anchor_to_serve(db: Database, route: Route, settings: CanarySettings) -> ServedAnchor | None:
    """The version that the next canary compares its candidate with besides the champion, or None.

    A champion that is not the anchor was promoted without proof that it is better. It may already have lost up to the
    margin, so the next candidate could lose more than that. With `strict`, each candidate is better than its champion.
    """
    anchor = route.compared_with
    if settings.strict or route.champion == anchor:
        return None
    return ServedAnchor(anchor, live_tests.count_comparisons(db, model=route.model, anchor=anchor) + 1)


def anchor_served(model: str, champion: int, anchor: ServedAnchor, settings: CanarySettings) -> dict[str, Any]:
    """What the ledger records of a canary that serves the anchor."""
    name, share = f"{model}@{anchor.version}", anchor_share(settings.share)
    sentence = (
        f"{model}@{champion} is not proven better than the anchor {name}, so this canary also compares the candidate "
        f"with {name}, which {100 * share:.3g}% of users get. Against {name}, it may lose {100 * settings.margin:g} "
        "points of approval at most."
    )
    return {"version": anchor.version, "use": anchor.use, "share": share, "sentence": sentence}


def anchor_after(model: str, candidate: int, anchor: int, found: AnchorLook | None) -> dict[str, Any]:
    """What the ledger records of the anchor when a candidate passed: the anchor after a promotion, and why.

    `version` is that anchor, `compared_with` the one before, `difference` and `lower` on the scale from −1 to +1.
    `found` is None if the canary did not compare the candidate with the anchor.
    """
    before, after = f"{model}@{anchor}", f"{model}@{candidate}"
    if found is None:
        return {"version": anchor, "sentence": f"The anchor is still {before}: this canary did not compare with it."}
    lower = points(found.lower)
    if found.is_better:
        sentence = f"{after} is better than the anchor {before} (lower bound {lower} points), and replaces it."
    else:
        sentence = (
            f"The anchor is still {before}: {after} is not proven better (lower bound {lower} points). The next canary "
            f"compares its candidate with {before} too."
        )
    return {
        "version": candidate if found.is_better else anchor,
        "compared_with": anchor,
        "difference": found.difference,
        "lower": found.lower,
        "sentence": sentence,
    }


def anchor_without_canary(model: str, candidate: int) -> dict[str, Any]:
    """What the ledger records of the anchor where the settings have no canary: the offline gate alone proves a gain."""
    sentence = f"The settings have no canary, so the offline gate's proof makes {model}@{candidate} the anchor."
    return {"version": candidate, "sentence": sentence}


def anchor_by_hand(model: str, version: int, actor: str) -> dict[str, Any]:
    """What the ledger records of the anchor where a person puts a version in service."""
    return {"version": version, "sentence": f"{model}@{version} is the anchor, because {actor} put it in service."}


def is_anchor(candidate: int, live: dict[str, Any]) -> bool:
    """Whether a candidate becomes the anchor with its promotion. Decisions from before anchors do not say it."""
    return live.get("anchor", {}).get("version") == candidate
