"""The page of one decision: its evidence in tabs. The server makes only the chosen tab.

It owns which evidence is in which tab; the views of `ops.views` have the data, the templates the HTML.
"""

from dataclasses import dataclass
from typing import Any

from core.errors import InputError

Plain = dict[str, Any]
# The tabs in their order, with their words.
TABS = {
    "summary": "Summary",
    "kpis": "KPIs",
    "gate": "Guardrails and suites",
    "labels": "Labels",
    "slices": "Slices",
    "regressions": "Texts that got worse",
    "live": "Live",
    "lineage": "Lineage",
}


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab: its name in the address, its words, and how much is in it (an empty text if that says nothing)."""

    name: str
    words: str
    count: str = ""


def tabs(decision: Plain, regressions: list[Plain]) -> list[Tab]:
    """The tabs that have something to show for this decision. The last one, with the row's hashes, is always there."""
    evidence, gates = decision["evidence"], decision["gates"]
    slices = (evidence.get("slices") or {}).get("judged", [])
    labels = evidence.get("labels") and (evidence.get("class_f1") or evidence.get("confusion"))
    found = {
        "summary": "" if gates or evidence.get("worth") or decision["related"] else None,
        "kpis": "" if evidence.get("differences") or evidence.get("arms") else None,
        "gate": f"{gates['passed']} of {gates['of']}" if gates else "" if evidence.get("suites") else None,
        "labels": str(len(evidence["labels"])) if labels else None,
        "slices": str(len(slices)) if evidence.get("slices") else None,
        "regressions": str(len(regressions)) if regressions else None,
        "live": "" if decision["looks"] or decision["live"] else None,
        "lineage": "",
    }
    return [Tab(name, TABS[name], count) for name, count in found.items() if count is not None]


def chosen_tab(asked: str | None, found: list[Tab]) -> str:
    """The tab to show: the one asked for, or the first if this decision has nothing for it. Raises InputError."""
    if asked and asked not in TABS:
        raise InputError(f"tab: takes one of {', '.join(TABS)}.")
    names = [tab.name for tab in found]
    return asked if asked in names else names[0]
