"""The routing table: which version answers a request for a model, and which engines hold it.

The assignment of users to arms is a pure function of table and user.
"""

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from core.api_keys import Grant, grant_from_dict
from core.errors import NotFound
from core.names import checked_name
from core.records import Arm

# The salt of the draw of answers that the app asks its users about.
AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Target:
    """A version as engines know it; `retrieval` is the hash of what is put before a question, where that is one."""

    version: int
    engine_name: str
    retrieval: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A model's champion and, while one is tested, its canary with the share of users it serves.

    The canary has the lowest hashes; after a promotion the version before keeps the highest, `held_share` of
    them, so that nobody goes to and fro. `loaded` are all versions that engines hold, for those who may ask for
    one by its number. `audit_share` is the share of requests whose answers the app asks its users about.
    """

    champion: Target
    canary: Target | None
    share: float
    salt: str
    loaded: tuple[Target, ...] = ()
    held: Target | None = None
    held_share: float = 0.0
    audit_share: float = 0.0

    def serving(self) -> tuple[Target, ...]:
        """The versions that may answer requests which name only the model."""
        return tuple(target for target in (self.champion, self.canary, self.held) if target is not None)


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Which version answers, and why: the hash bucket that was compared with the share."""

    model: str
    target: Target
    arm: Arm
    share: float
    bucket: float | None


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Everything a gateway needs to know to serve, as one immutable value.

    `engines` maps each engine's URL to the names that it answers to, the base model's and adapters'. `withheld` has the
    places of the entries that must not be shown, of each retrieval by its hash.
    """

    engines: dict[str, tuple[str, ...]]
    models: dict[str, ModelRoute]
    keys: tuple[Grant, ...] = ()
    withheld: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    @property
    def etag(self) -> str:
        """Hash of the content. Equal tables have equal tags, even from different processes.

        With many keys this takes long: keep the text and its tag, see `etag_of`.
        """
        return etag_of(self.to_json())

    def to_json(self) -> str:
        """The table as JSON with sorted keys."""
        return json.dumps(asdict(self, dict_factory=_plain), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RoutingTable":
        """The inverse of `to_json`."""
        data = json.loads(text)
        engines = {url: tuple(names) for url, names in dict(data["engines"]).items()}
        models = {name: _route(entry) for name, entry in data["models"].items()}
        withheld = {name: tuple(places) for name, places in dict(data.get("withheld", {})).items()}
        return cls(engines, models, tuple(grant_from_dict(entry) for entry in data["keys"]), withheld)

    def holders(self, engine_name: str) -> list[str]:
        """The engines that answer to a name."""
        return [url for url, names in self.engines.items() if engine_name in names]

    def answering(self) -> tuple[str, ...]:
        """The engines that answer to a name: one that control has not checked, or has refused, answers to none."""
        return tuple(url for url, names in self.engines.items() if names)

    def versions(self) -> set[tuple[str, int]]:
        """Every (model, version) that a request may reach."""
        return {
            (name, target.version)
            for name, route in self.models.items()
            for target in (route.champion, route.canary, *route.loaded)
            if target is not None
        }

    def retrievals(self) -> set[str]:
        """Every retrieval that a request may need, by its hash."""
        return {
            target.retrieval
            for route in self.models.values()
            for target in (route.champion, route.canary, route.held, *route.loaded)
            if target is not None and target.retrieval is not None
        }

    def usable(self, held: Callable[[str], bool], before: "RoutingTable | None") -> "tuple[RoutingTable, set[str]]":
        """The table for a gateway that has only the retrievals that `held` accepts, and the models that wait.

        A model that lacks one keeps its route of `before`, or is left out. Other models and all keys are as they are.
        """
        found: dict[str, ModelRoute] = {}
        waiting = set[str]()
        for name, route in self.models.items():
            if all(target.retrieval is None or held(target.retrieval) for target in route.serving()):
                loaded = tuple(t for t in route.loaded if t.retrieval is None or held(t.retrieval))
                found[name] = route if len(loaded) == len(route.loaded) else replace(route, loaded=loaded)
                continue
            waiting.add(name)
            if before is not None and name in before.models:
                found[name] = before.models[name]
        return (replace(self, models=found) if waiting or found != self.models else self), waiting

    def choose(self, model: str, sticky_key: str | None) -> RoutingDecision:
        """The version for a request. Raises NotFound.

        A request with a sticky key always falls on the same side while salt and share stand; one without
        is drawn at random and carries no bucket, so that tests by user can leave it out.
        """
        route = self._route(model)
        bucket = sticky_bucket(route.salt, sticky_key) if sticky_key else None
        drawn = random.random() if bucket is None else bucket
        if route.canary is not None and drawn < route.share:
            return RoutingDecision(model, route.canary, "canary", route.share, bucket)
        if route.held is not None and drawn >= 1 - route.held_share:
            return RoutingDecision(model, route.held, "holdback", route.held_share, bucket)
        return RoutingDecision(model, route.champion, "champion", route.share or route.held_share, bucket)

    def asks_about(self, choice: RoutingDecision, identity: str) -> bool:
        """Whether the app should ask its user about the answer with this id: a draw that no client can influence.

        A request that chose its version is no sample of live traffic.
        """
        share = self.models[choice.model].audit_share
        return share > 0 and choice.arm != "pinned" and sticky_bucket(AUDIT, identity) < share

    def champion_instead(self, choice: RoutingDecision) -> RoutingDecision | None:
        """The champion for a request whose version no engine has, or None for one that chose its version itself.

        It carries no bucket, so that it counts in no live test.
        """
        route = self.models.get(choice.model)
        if route is None or choice.arm == "pinned" or choice.target == route.champion:
            return None
        return RoutingDecision(choice.model, route.champion, "champion", choice.share, None)

    def pinned(self, name: str) -> RoutingDecision:
        """The version that `model@7` names. Raises NotFound.

        It carries no bucket: a request that chose its version says nothing about the split.
        """
        model, _, number = name.partition("@")
        route = self._route(model)
        for target in (route.champion, route.canary, route.held, *route.loaded):
            if target is not None and str(target.version) == number:
                return RoutingDecision(model, target, "pinned", route.share, None)
        held = ", ".join(f"{model}@{target.version}" for target in route.loaded)
        raise NotFound("version", name, where="on the engines", hint=f"Loaded are: {held}.")

    def _route(self, model: str) -> ModelRoute:
        route = self.models.get(model)
        if route is None:
            raise NotFound("model", model, hint="See GET /v1/models.")
        return route


def etag_of(text: str) -> str:
    """The tag of a table from its JSON."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sticky_bucket(salt: str, key: str) -> float:
    """A hash of the key in [0, 1), uniform over keys and independent between salts."""
    digest = hashlib.sha256(f"{salt}\n{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def sticky_key(body: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """(key, user, conversation) of a request: OpenAI's `user`, else `safety_identifier`, else conversation.

    Raises InputError for a name that feedback could not have.
    """
    user = _name(body, "user") or _name(body, "safety_identifier")
    metadata = body.get("metadata")
    conversation = _name(metadata, "conversation_id", "metadata.") if isinstance(metadata, dict) else None
    return user or conversation, user, conversation


def _name(body: dict[str, Any], field: str, within: str = "") -> str | None:
    value = body.get(field)
    return checked_name(within + field, value) if isinstance(value, str) and value else None


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A record as JSON. A gateway of a release before retrievals or audits reads a table that names none."""
    return {name: value for name, value in pairs if value or name not in ("retrieval", "withheld", "audit_share")}


def _route(entry: dict[str, Any]) -> ModelRoute:
    canary = Target(**entry["canary"]) if entry["canary"] else None
    loaded = tuple(Target(**each) for each in entry["loaded"])
    # A table on a gateway's disk may be from a release without holdbacks or audits.
    held = Target(**entry["held"]) if entry.get("held") else None
    return ModelRoute(
        Target(**entry["champion"]),
        canary,
        entry["share"],
        entry["salt"],
        loaded,
        held,
        entry.get("held_share", 0.0),
        entry.get("audit_share", 0.0),
    )
