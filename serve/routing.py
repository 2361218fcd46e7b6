"""The routing table: which version answers a request for a model.

It owns the sticky split, a pure function of table and user; it must not know how a version came to serve.
"""

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import UnknownModel
from core.keys import Grant, grant_from_dict
from core.records import Arm


@dataclass(frozen=True, slots=True)
class Target:
    """A version as engines know it."""

    version: int
    engine_name: str


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A model's champion and, while one is tested, its canary with the share of users it serves."""

    champion: Target
    canary: Target | None
    share: float
    salt: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which version answers, and why: the hash bucket that was compared with the share."""

    target: Target
    arm: Arm
    share: float
    bucket: float | None


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Everything a gateway needs to know to serve, as one immutable value."""

    engines: tuple[str, ...]
    models: dict[str, ModelRoute]
    keys: tuple[Grant, ...] = ()

    @property
    def etag(self) -> str:
        """A hash of the content: equal tables have equal tags, whoever made them."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The table as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RoutingTable":
        """The inverse of `to_json`."""
        data = json.loads(text)
        models = {name: _route(entry) for name, entry in data["models"].items()}
        return cls(tuple(data["engines"]), models, tuple(grant_from_dict(entry) for entry in data["keys"]))

    def choose(self, model: str, sticky_key: str | None) -> Choice:
        """The version for a request. Raises UnknownModel.

        A request with a sticky key always falls on the same side while salt and share stand; one without
        is drawn at random and carries no bucket, so that tests by user can leave it out.
        """
        route = self.models.get(model)
        if route is None:
            known = ", ".join(sorted(self.models))
            raise UnknownModel(f"The model {model!r} does not exist.", hint=f"Use one of: {known}.")
        bucket = sticky_bucket(route.salt, sticky_key) if sticky_key else None
        drawn = random.random() if bucket is None else bucket
        if route.canary is not None and drawn < route.share:
            return Choice(route.canary, "canary", route.share, bucket)
        return Choice(route.champion, "champion", route.share, bucket)


def sticky_bucket(salt: str, key: str) -> float:
    """A hash of the key in [0, 1), uniform over keys and independent between salts."""
    digest = hashlib.sha256(f"{salt}\n{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def sticky_key(body: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """(key, user, conversation) of a request: OpenAI's `user`, else `safety_identifier`, else conversation."""
    user = _text(body.get("user")) or _text(body.get("safety_identifier"))
    metadata = body.get("metadata")
    conversation = _text(metadata.get("conversation_id")) if isinstance(metadata, dict) else None
    return user or conversation, user, conversation


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _route(entry: dict[str, Any]) -> ModelRoute:
    canary = Target(**entry["canary"]) if entry["canary"] else None
    return ModelRoute(Target(**entry["champion"]), canary, entry["share"], entry["salt"])
