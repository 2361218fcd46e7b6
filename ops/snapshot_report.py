"""The report of a snapshot as sections of tables, and as one HTML file. Pure functions of the report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:0 0 1.5rem}th,td{padding:.25rem .75rem;border-bottom:1px solid #ccc;"
    "text-align:left}td{text-align:right;font-variant-numeric:tabular-nums}code{overflow-wrap:anywhere}"
)

COVERAGE = "Coverage of the requests of the last 30 days"


@dataclass(frozen=True, slots=True)
class Section:
    """One table: its title, its columns, and rows of a name with one value per further column."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def sections(report: Mapping[str, Any]) -> list[Section]:
    """The tables of a report that have rows."""
    return [section for section in _sections(report) if section.rows]


def _sections(report: Mapping[str, Any]) -> Iterator[Section]:
    rows, users = report["rows"], report["users"]
    yield Section("Warnings", ("warning",), [(warning,) for warning in report.get("warnings", [])])
    yield Section(
        "Buckets", ("bucket", "rows", "users"), [(b, f"{n:,}", f"{users.get(b, 0):,}") for b, n in rows.items()]
    )
    yield Section("Signals", ("signal", "rows", "users"), _pairs(report["by_signal"]))
    yield Section("Classes", ("label", "rows", "users"), _pairs(report.get("by_class", {})))
    yield Section("Weights of train rows", ("answers", "rows", "weight of a row"), _weights(report.get("weights", {})))
    yield Section("Same texts", ("what", "count"), _counts(report.get("duplicates", {})))
    noise = report.get("label_noise")
    if noise is not None:
        compared = f"{report['compared_texts']:,}"
        yield Section(
            "Label noise", ("what", "value"), [("texts compared", compared), ("users disagree", f"{noise:.1%}")]
        )
    coverage = report.get("coverage", {})
    yield Section(COVERAGE, ("cluster", "requests", "users", "train rows"), _clusters(coverage))
    yield Section("Votes by type", ("type", "votes"), _counts(report["signals"]))
    yield Section("Personal data replaced", ("rule", "replacements"), _counts(report.get("scrubbed", {})))
    yield Section("Left out", ("reason", "votes"), _counts(report["left_out"]))
    pairs = report.get("pairs", {})
    yield Section("Pairs", ("signal", "pairs", "users"), _pairs(pairs.get("by_signal", {})))
    yield Section("Votes that make no pair", ("reason", "votes"), _counts(pairs.get("left_out", {})))


def _pairs(counts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, ...]]:
    return [(name, f"{count['rows']:,}", f"{count['users']:,}") for name, count in counts.items()]


def _weights(weights: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Right and wrong answers, with why their rows weigh this much."""
    if not weights:
        return []
    kinds = [(f"{kind} answers", f"{weights[f'rows_{kind}']:,}", f"{weights[kind]:.1f}") for kind in ("right", "wrong")]
    return [*kinds, (weights["reason"], "", "")]


def _clusters(coverage: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Each cluster with its share of the compared requests, and of the compared rows."""
    return [
        (
            one["name"],
            f"{one['requests'] / coverage['requests']:.1%}",
            f"{one['users']:,}",
            f"{one['rows'] / coverage['rows']:.1%}" if one["rows"] else "none",
        )
        for one in coverage.get("clusters", [])
    ]


def _counts(counts: Mapping[str, int]) -> list[tuple[str, ...]]:
    return [(name.replace("_", " "), f"{count:,}") for name, count in counts.items()]


def as_html(report: Mapping[str, Any]) -> str:
    """The report as one HTML file without links to others."""
    title = f"Snapshot {report['hash'][:12]} of {report['model']}"
    digest, run = escape(report["hash"]), escape(report["run_id"])
    about = f"<p>Hash <code>{digest}</code>, run <code>{run}</code>, {escape(report['time'])}</p>"
    tables = "".join(_table(section) for section in sections(report))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{about}{tables}</body></html>\n"
    )


def _table(section: Section) -> str:
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in section.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
        for name, *values in section.rows
    )
    return f"<h2>{escape(section.title)}</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
