"""A glance: everything that moves, in one picture, from the ops API and the gateways' metrics.

It owns how counters of two looks become rates and latencies; how a picture is drawn it must not know. A part that
does not answer is said to be down, and the others are shown anyway.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_SECONDS = 3.0
RUNS = 6
Key = tuple[str, str]  # model and version, as the metrics write them
PERCENTILE = 0.95


@dataclass(slots=True)
class Counts:
    """What gateways have counted since they started, added up over them."""

    requests: Counter[Key] = field(default_factory=Counter)
    errors: Counter[Key] = field(default_factory=Counter)
    in_flight: Counter[Key] = field(default_factory=Counter)
    seconds: defaultdict[Key, Counter[float]] = field(default_factory=lambda: defaultdict(Counter))
    feedback: Counter[str] = field(default_factory=Counter)
    unshipped_bytes: float = 0
    dropped: float = 0


def count(texts: Iterable[str]) -> Counts:
    """The counts of several gateways' metrics; labels beyond model, version, status and type are added up."""
    counts = Counts()
    for text in texts:
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                _add(counts, name, labels, value)
    return counts


def _add(counts: Counts, name: str, labels: Mapping[str, str], value: float) -> None:
    key = (labels.get("model", ""), labels.get("version", ""))
    match name:
        case "loraloop_requests_total":
            counts.requests[key] += int(value)
            counts.errors[key] += int(value) if labels.get("status", "") >= "500" else 0
        case "loraloop_request_seconds_bucket":
            counts.seconds[key][float(labels["le"])] += int(value)
        case "loraloop_in_flight":
            counts.in_flight[key] += int(value)
        case "loraloop_feedback_total":
            counts.feedback[labels.get("type", "")] += int(value)
        case "loraloop_spool_unshipped_bytes":
            counts.unshipped_bytes += value
        case "loraloop_interactions_dropped":
            counts.dropped += value


def percentile(buckets: Mapping[float, int], share: float = PERCENTILE) -> float | None:
    """A percentile in seconds of Prometheus' cumulative buckets, interpolated within one; None without a request.

    Above the last finite bound nothing is known but that bound, which is returned.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    if total <= 0:
        return None
    rank, low, below = share * total, 0.0, 0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return low
            inside = buckets[bound] - below
            return low + (bound - low) * (rank - below) / inside if inside else bound
        low, below = bound, buckets[bound]
    return low


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of questions: what each part answered, and what did not answer."""

    at: float
    models: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    engines: list[dict[str, Any]]
    counts: Counts
    down: list[str]


class Poller:
    """Asks control and gateways, again and again, over kept connections.

    `key_hint` says what to do if the key is refused. `is_local`: they are on this machine, and no proxy is between.
    """

    def __init__(
        self, control: str, gateways: list[str], *, key: str = "", key_hint: str = "", is_local: bool = True
    ) -> None:
        self._control = control.rstrip("/")
        self._gateways = gateways
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, trust_env=not is_local)
        self._key_hint = key_hint or "Do: export LORALOOP_KEY=llk_…"
        self._start_hint = "; start it with: loraloop up" if is_local else ""

    def look(self) -> Sample:
        """One look."""
        down: list[str] = []
        control = f"control at {self._control}"
        models = self._json(f"{self._control}/api/models", control, down) or []
        runs = engines = None
        if not down:  # one that does not answer is not asked three times
            runs = self._json(f"{self._control}/api/runs?limit={RUNS}", control, down)
            engines = (self._json(f"{self._control}/ready", control, down) or {}).get("engines")
        texts = [self._text(f"{url}/metrics", f"gateway at {url}", down) for url in self._gateways]
        return Sample(time.monotonic(), models, runs or [], engines or [], count(filter(None, texts)), down)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _json(self, url: str, what: str, down: list[str]) -> Any:
        response = self._get(url, what, down, also=(503,))
        try:
            return response.json() if response else None
        except ValueError:
            down.append(f"{what} answers with something else than JSON")
            return None

    def _text(self, url: str, what: str, down: list[str]) -> str | None:
        response = self._get(url, what, down)
        return response.text if response else None

    def _get(self, url: str, what: str, down: list[str], also: tuple[int, ...] = ()) -> httpx.Response | None:
        try:
            response = self._http.get(url)
        except httpx.HTTPError:
            down.append(f"{what} does not answer{self._start_hint}")
            return None
        if response.status_code in (401, 403):
            down.append(f"{what} needs a key with ops:read. {self._key_hint}")
        elif response.status_code != 200 and response.status_code not in also:
            down.append(f"{what} answers {response.status_code}")
        else:
            return response
        return None


@dataclass(frozen=True, slots=True)
class Version:
    """One version's traffic: requests since its gateways started, and what happened between two looks."""

    version: str
    role: str
    requests: int
    errors: int
    in_flight: int
    per_second: float | None
    share: float | None
    p95_ms: float | None


def summarize(now: Sample, before: Sample | None) -> dict[str, Any]:
    """What is drawn or printed as JSON. Rates and shares are between the looks; without one before, of all time."""
    seconds = now.at - before.at if before else None
    return {
        "down": now.down,
        "engines": now.engines,
        "models": [_model(row, now, before, seconds) for row in now.models],
        "feedback": {
            kind: {"count": total, "per_second": _rate(total, before.counts.feedback[kind] if before else 0, seconds)}
            for kind, total in sorted(now.counts.feedback.items())
        },
        "runs": now.runs,
        "spool": {"unshipped_bytes": now.counts.unshipped_bytes, "interactions_dropped": now.counts.dropped},
    }


def _model(row: dict[str, Any], now: Sample, before: Sample | None, seconds: float | None) -> dict[str, Any]:
    kept = ("model", "champion", "canary", "share", "new_feedback", "run", "since")
    keys = {key for key in now.counts.requests if key[0] == row["model"]}
    keys |= {(row["model"], str(v)) for v in (row["champion"], row["canary"]) if v is not None}
    done = {key: now.counts.requests[key] - (before.counts.requests[key] if before else 0) for key in keys}
    total = sum(n for n in done.values() if n > 0)
    versions = []
    for key in sorted(keys, key=lambda key: key[1].zfill(9)):
        earlier = before.counts.seconds.get(key, Counter()) if before else Counter()
        buckets = {bound: n - earlier[bound] for bound, n in now.counts.seconds.get(key, Counter()).items()}
        p95 = percentile(buckets)
        number = key[1]
        role = "champion" if number == str(row["champion"]) else "canary" if number == str(row["canary"]) else "before"
        versions.append(
            asdict(
                Version(
                    number,
                    role,
                    now.counts.requests[key],
                    now.counts.errors[key],
                    now.counts.in_flight[key],
                    _rate(now.counts.requests[key], before.counts.requests[key] if before else 0, seconds),
                    done[key] / total if total and done[key] >= 0 else None,
                    None if p95 is None else p95 * 1000,
                )
            )
        )
    return {name: row.get(name) for name in kept} | {"versions": versions}


def _rate(now: int, before: int, seconds: float | None) -> float | None:
    """Per second; None without two looks, and for a gateway that restarted between them."""
    return (now - before) / seconds if seconds and now >= before else None
