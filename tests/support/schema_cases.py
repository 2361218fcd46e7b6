"""Requests that schemathesis makes from an OpenAPI document, right and wrong ones, and the statuses that they met."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis.core.result import Ok

UNHEALTHY = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
BOOLEAN = strategies.booleans()
Ask = Callable[..., Any]


def operations_of(document: dict[str, Any], left_out: Collection[tuple[str, str]] = ()) -> list[Any]:
    """The operations of a document, without those of `left_out`: pairs of method and path."""
    found = [
        each.ok() for each in schemathesis.openapi.from_dict(document).get_all_operations() if isinstance(each, Ok)
    ]
    return [each for each in found if (each.method, each.path) not in left_out]


def ask_all(
    operations: list[Any],
    ask: Ask,
    *,
    cases: int,
    change: Callable[[Any], Any] = lambda body: body,
    known: Mapping[str, str] = MappingProxyType({}),
) -> Counter[int]:
    """Send `cases` requests of each operation; return how many met each status.

    An operation without parameters makes fewer, since equal requests are sent once. `change` is applied to each JSON
    body. `known` are parameters of paths for which half of the requests have a value that exists.

    Raises AssertionError for an error of the server that the document does not have.
    """
    statuses: Counter[int] = Counter()
    for operation in operations:

        @settings(max_examples=cases, suppress_health_check=UNHEALTHY)
        @given(
            case=operation.as_strategy() | operation.as_strategy(schemathesis.GenerationMode.NEGATIVE), exists=BOOLEAN
        )
        def one(case: Any, exists: bool) -> None:
            if exists:
                case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
            sent = case.as_transport_kwargs()
            kept = {name: sent[name] for name in ("params", "json") if name in sent}
            if "json" in kept:
                kept["json"] = change(kept["json"])
            if isinstance(sent.get("data"), bytes | str):
                kept["content"] = sent["data"]
            answer = ask(sent["method"], sent["url"], headers=sent.get("headers") or {}, **kept)
            documented = "503" in case.operation.definition.raw["responses"] and answer.status_code == 503
            assert answer.status_code < 500 or documented, (sent["method"], sent["url"], kept, answer.text)
            statuses[answer.status_code] += 1

        one()
    return statuses
