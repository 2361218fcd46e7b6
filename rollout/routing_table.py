"""Build the routing table that gateways get, from routes, versions and what engines have loaded."""

from collections.abc import Callable, Iterable, Mapping

from core.records import Route, Version
from serve.retrieval.retriever import is_here
from serve.routing.table import ModelRoute, RoutingTable, Target


def build_table(
    engines: dict[str, tuple[str, ...]],
    current: Iterable[Route],
    wanted: Iterable[Version],
    find: Callable[[str, int], Version],
    withheld: Mapping[str, tuple[int, ...]],
    audit_shares: Mapping[str, float],
) -> RoutingTable:
    """The table of these routes. `engines` maps each URL to the names that it answers to.

    `withheld` has the places of entries that must not be shown, by the hash of their retrieval. `audit_shares` has the
    share of requests to ask about, for models with one.
    """
    names = {name for loaded in engines.values() for name in loaded}
    # Engines nearly always hold what serves, so that `find`, a query for each version, is hardly called.
    known = {(version.model, version.version): version for version in wanted}
    loaded: dict[str, list[Target]] = {}
    for version in known.values():
        # A retrieval without its file would keep every gateway from this table; if it serves, they have it.
        if version.engine_name in names and (version.kind != "retrieval" or is_here(version)):
            loaded.setdefault(version.model, []).append(_target(version))

    def target(route: Route, number: int) -> Target:
        return _target(known.get((route.model, number)) or find(route.model, number))

    return RoutingTable(
        engines,
        {
            route.model: ModelRoute(
                target(route, route.champion),
                None if route.canary is None else target(route, route.canary),
                route.share,
                route.salt,
                tuple(loaded.get(route.model, ())),
                None if route.held is None else target(route, route.held),
                route.holdback,
                audit_shares.get(route.model, 0.0),
            )
            for route in current
        },
        withheld=withheld,
    )


def _target(version: Version) -> Target:
    return Target(version.version, version.engine_name, version.sha256 if version.kind == "retrieval" else None)
