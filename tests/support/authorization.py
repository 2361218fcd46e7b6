"""Gateway and control with keys of every scope, and the lists of their routes."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.api_key_store import ApiKeyStore, NewKey
from core.api_keys import GRANTABLE, Scope
from core.clock import utc_now
from core.db.store import Store
from core.model_folder import ModelFolder
from core.settings import build
from ops.apps import control as control_app
from serve.engines.fake import running
from serve.gateway.not_served import REASONS
from serve.gateway.purposes import PURPOSES
from serve.routing import publisher
from serve.routing.publisher import RoutePublisher

INTERNAL_KEY = "internal-s3cret"
NUMBERS = {Scope.OPS_NUMBERS, Scope.OPS_READ}
METRICS = {Scope.METRICS, *NUMBERS, Scope.INTERNAL}
GATEWAY = {
    ("POST", "/v1/chat/completions"): {Scope.INFER},
    ("POST", "/v1/completions"): {Scope.INFER},
    ("POST", "/v1/responses"): {Scope.INFER},
    ("GET", "/v1/responses/{response_id}"): {Scope.INFER, Scope.OPS_READ},
    ("GET", "/v1/responses/{response_id}/input_items"): {Scope.INFER, Scope.OPS_READ},
    ("POST", "/v1/responses/{response_id}/cancel"): {Scope.INFER, Scope.OPS_WRITE},
    ("DELETE", "/v1/responses/{response_id}"): {Scope.INFER, Scope.OPS_WRITE},
    ("POST", "/v1/messages"): {Scope.INFER},
    ("POST", "/v1/messages/count_tokens"): {Scope.INFER},
    ("POST", "/openai/deployments/{model}/chat/completions"): {Scope.INFER},
    ("POST", "/openai/deployments/{model}/completions"): {Scope.INFER},
    ("POST", "/tokenize"): {Scope.INFER},
    ("POST", "/detokenize"): {Scope.INFER},
    **{("POST", path): {Scope.INFER} for path in (*REASONS, *(p for purpose in PURPOSES for p in purpose.paths))},
    ("GET", "/v1/models"): {Scope.INFER},
    ("GET", "/v1/models/{model:path}"): {Scope.INFER},
    ("GET", "/openapi.json"): {Scope.INFER},
    ("POST", "/v1/feedback"): {Scope.FEEDBACK},
    ("DELETE", "/v1/feedback"): {Scope.FEEDBACK, Scope.OPS_WRITE},
    ("DELETE", "/v1/feedback/{feedback_id:path}"): {Scope.FEEDBACK, Scope.OPS_WRITE},
    ("POST", "/feedback"): {Scope.FEEDBACK},
    ("POST", "/api/public/scores"): {Scope.FEEDBACK},
    ("POST", "/api/v1/evaluations/feedback"): {Scope.FEEDBACK},
    ("POST", "/api/v1/evaluations/feedback/{feedback_id}"): {Scope.FEEDBACK},
    ("GET", "/v1/chat/completions"): {Scope.INFER, Scope.OPS_READ},
    ("GET", "/v1/chat/completions/{completion_id}"): {Scope.INFER, Scope.OPS_READ},
    ("GET", "/v1/chat/completions/{completion_id}/messages"): {Scope.INFER, Scope.OPS_READ},
    ("POST", "/v1/chat/completions/{completion_id}"): {Scope.INFER, Scope.OPS_WRITE},
    ("DELETE", "/v1/chat/completions/{completion_id}"): {Scope.INFER, Scope.OPS_WRITE},
    ("POST", "/api/reload"): {Scope.OPS_WRITE},
    ("GET", "/metrics"): METRICS,
}
# Pages with prompts, answers, comments, or phrases that users wrote, or with names of users.
TEXTS = (
    "/promotions/{identity}",
    "/requests",
    "/feedback",
    "/feedback/agreement",
    "/feedback/queue",
    "/feedback/{identity}",
    "/quarantine",
    "/quarantine/{identity}",
)
READ = (
    "/overview",
    "/usage",
    "/plan",
    "/promotions",
    "/models/{model}",
    "/models/{model}/compare",
    "/runs",
    "/runs/{identity}",
    "/system",
)
ACTIONS = (
    "/models/{model}/rollback",
    "/models/{model}/canary/{verb}",
    "/models/{model}/freeze",
    "/models/{model}/unfreeze",
    "/alarms/{name}/silence",
    "/models/{model}/retrain",
    "/promotions/{identity}/approve",
    "/promotions/{identity}/reject",
    "/quarantine/{identity}/{verb}",
    "/runs/{identity}/{verb}",
    "/hold",
)
ADMIN_PAGES = ("/erasures", "/erasures.json", "/erasures/{identity}", "/audit", "/audit.json", "/keys", "/keys.json")
PAGES = (
    {("GET", path): NUMBERS for path in ("/", *READ, *(f"{path}.json" for path in READ))}
    | {("GET", path): {Scope.OPS_READ} for path in (*TEXTS, *(f"{path}.json" for path in TEXTS))}
    | {
        ("POST", "/logout"): NUMBERS,
        ("POST", "/feedback/queue"): {Scope.OPS_WRITE},
        ("POST", "/feedback/queue/undo"): {Scope.OPS_WRITE},
        ("POST", "/feedback/agreement"): {Scope.OPS_WRITE},
        ("POST", "/feedback/agreement/undo"): {Scope.OPS_WRITE},
    }
    | {(method, path): {Scope.OPS_WRITE} for path in ACTIONS for method in ("GET", "POST")}
    | {("GET", path): {Scope.ADMIN} for path in ADMIN_PAGES}
    | {("POST", path): {Scope.ADMIN} for path in ("/erasures", "/erasures/preview")}
)
CONTROL = PAGES | {
    ("POST", "/internal/routes"): {Scope.INTERNAL},
    ("POST", "/internal/spool/{spool}/{segment}"): {Scope.INTERNAL},
    ("GET", "/internal/retrievals/{sha256}"): {Scope.INTERNAL},
    ("POST", "/internal/completions/get"): {Scope.INTERNAL},
    ("POST", "/internal/completions/page"): {Scope.INTERNAL},
    ("POST", "/internal/completions/messages"): {Scope.INTERNAL},
    ("POST", "/internal/completions/change"): {Scope.INTERNAL},
    ("POST", "/internal/completions/delete"): {Scope.INTERNAL},
    ("POST", "/internal/responses/get"): {Scope.INTERNAL},
    ("POST", "/internal/responses/items"): {Scope.INTERNAL},
    ("POST", "/internal/responses/messages"): {Scope.INTERNAL},
    ("POST", "/internal/responses/delete"): {Scope.INTERNAL},
    ("GET", "/openapi.json"): NUMBERS,
    ("GET", "/api/keys"): {Scope.ADMIN},
    ("POST", "/api/keys"): {Scope.ADMIN},
    ("POST", "/api/keys/{identity}/rotate"): {Scope.ADMIN},
    ("POST", "/api/keys/{identity}/revoke"): {Scope.ADMIN},
    ("POST", "/api/backup"): {Scope.ADMIN},
    ("GET", "/api/dead-letters"): {Scope.ADMIN},
    ("GET", "/api/dead-letters/{identity}"): {Scope.ADMIN},
    ("POST", "/api/dead-letters/replay"): {Scope.ADMIN},
    ("POST", "/api/dead-letters/drop"): {Scope.ADMIN},
    ("GET", "/api/erasures"): {Scope.ADMIN},
    ("GET", "/api/erasures/{identity}"): {Scope.ADMIN},
    ("POST", "/api/erasures"): {Scope.ADMIN},
    ("POST", "/api/erasures/preview"): {Scope.ADMIN},
    ("GET", "/api/retention"): NUMBERS,
    ("GET", "/api/retention/runs"): NUMBERS,
    ("GET", "/api/retention/runs/{identity}"): NUMBERS,
    ("POST", "/api/retention/runs"): {Scope.ADMIN},
    ("GET", "/api/export/{kind}"): {Scope.ADMIN},
    ("GET", "/api/snapshots/{identity}"): NUMBERS,
    ("GET", "/api/snapshots/{identity}/rows"): {Scope.ADMIN},
    ("POST", "/api/feedback/import"): {Scope.OPS_WRITE},
    ("GET", "/api/import"): {Scope.OPS_WRITE},
    ("POST", "/api/import"): {Scope.OPS_WRITE},
    ("GET", "/v1/files"): NUMBERS,
    ("POST", "/v1/files"): {Scope.OPS_WRITE},
    ("GET", "/v1/files/{identity}"): NUMBERS,
    ("DELETE", "/v1/files/{identity}"): {Scope.OPS_WRITE},
    ("GET", "/v1/files/{identity}/content"): {Scope.ADMIN},
    ("GET", "/v1/fine_tuning/jobs"): NUMBERS,
    ("POST", "/v1/fine_tuning/jobs"): {Scope.OPS_WRITE},
    ("GET", "/v1/fine_tuning/jobs/{identity}"): NUMBERS,
    ("GET", "/v1/fine_tuning/jobs/{identity}/events"): NUMBERS,
    ("GET", "/v1/fine_tuning/jobs/{identity}/checkpoints"): NUMBERS,
    ("POST", "/v1/fine_tuning/jobs/{identity}/cancel"): {Scope.OPS_WRITE},
    ("POST", "/v1/fine_tuning/jobs/{identity}/pause"): {Scope.OPS_WRITE},
    ("POST", "/v1/fine_tuning/jobs/{identity}/resume"): {Scope.OPS_WRITE},
    ("GET", "/api/alarms"): NUMBERS,
    ("POST", "/api/alarms/silence"): {Scope.OPS_WRITE},
    ("GET", "/api/notifications"): NUMBERS,
    ("POST", "/api/notifications/test"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/adapters"): {Scope.OPS_WRITE},
    ("GET", "/api/models"): NUMBERS,
    ("GET", "/api/usage"): NUMBERS,
    ("GET", "/api/models/{model}/versions"): NUMBERS,
    ("GET", "/api/models/{model}/versions/{version}"): NUMBERS,
    ("GET", "/api/models/{model}/versions/{version}/suspects"): NUMBERS,
    ("GET", "/api/models/{model}/routes"): NUMBERS,
    ("GET", "/api/promotions"): NUMBERS,
    ("GET", "/api/promotions/{identity}"): NUMBERS,
    ("GET", "/api/runs"): NUMBERS,
    ("GET", "/api/runs/{identity}"): NUMBERS,
    ("GET", "/api/feedback"): NUMBERS,
    ("GET", "/api/feedback/waiting"): NUMBERS,
    ("GET", "/api/feedback/agreement"): NUMBERS,
    ("GET", "/api/quarantine"): {Scope.OPS_READ},
    ("GET", "/api/quarantine/preview"): NUMBERS,
    ("GET", "/api/quarantine/{identity}"): {Scope.OPS_READ},
    ("POST", "/api/quarantine"): {Scope.OPS_WRITE},
    ("POST", "/api/quarantine/{identity}/release"): {Scope.OPS_WRITE},
    ("POST", "/api/quarantine/{identity}/reject"): {Scope.OPS_WRITE},
    ("GET", "/api/ledger"): NUMBERS,
    ("GET", "/api/audit"): {Scope.ADMIN},
    ("GET", "/api/audit/chain"): NUMBERS,
    ("POST", "/api/runs/{identity}/cancel"): {Scope.OPS_WRITE},
    ("POST", "/api/runs/{identity}/pause"): {Scope.OPS_WRITE},
    ("POST", "/api/runs/{identity}/resume"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/retrain"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/evaluate"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/rollback"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/canary/stop"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/canary/pause"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/canary/resume"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/canary/share"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/freeze"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/unfreeze"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/promote"): {Scope.OPS_WRITE},
    ("POST", "/api/promotions/{identity}/approve"): {Scope.OPS_WRITE},
    ("POST", "/api/promotions/{identity}/reject"): {Scope.OPS_WRITE},
    ("POST", "/api/reload"): {Scope.OPS_WRITE},
    ("GET", "/metrics"): METRICS,
}


@dataclass
class Keys:
    """A key of every scope, and one of every kind that opens nothing."""

    by_scope: dict[Scope, str] = field(default_factory=dict)
    dead: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def make(cls, ring: ApiKeyStore) -> "Keys":
        made = {scope: ring.make(NewKey(scope, (scope,)), "test").key for scope in GRANTABLE}
        expired = ring.make(NewKey("expired", GRANTABLE, lifetime=timedelta(microseconds=1)), "test")
        revoked = ring.make(NewKey("revoked", GRANTABLE), "test")
        ring.revoke(revoked.id)
        rotated = ring.make(NewKey("rotated", GRANTABLE), "test")
        ring.rotate(rotated.id, timedelta())
        wrong = made[Scope.ADMIN][:-1] + ("a" if made[Scope.ADMIN][-1] != "a" else "b")
        dead = {
            "no": None,
            "wrong": wrong,
            "expired": expired.key,
            "revoked": revoked.key,
            "rotated": rotated.key,
            "odd": "\xffé",
            "long": "x" * 100_000,
        }
        return cls(made | {Scope.INTERNAL: INTERNAL_KEY}, dead)


Ask = Callable[..., httpx.Response]


def asked(client: httpx.Client) -> Ask:
    """Asks a route with a key."""

    def ask(route: tuple[str, str], key: str | None, **how: Any) -> httpx.Response:
        method, path = route
        for name in ("feedback_id:path", "feedback_id", "completion_id", "response_id", "identity", "model", "spool"):
            path = path.replace(f"{{{name}}}", "x")
        path = path.replace("{segment}", "1?offset=0")
        headers = {} if key is None else {"Authorization": f"Bearer {key}".encode("latin-1")}
        body: dict[str, Any] = {} if method == "GET" else {"json": {}}
        return client.request(method, path, **(body | {"headers": headers, "follow_redirects": False} | how))

    return ask


class Control:
    """Control's real app, not yet started: its routes need no scheduler."""

    def __init__(self, data: Path, models: tuple[str, ...] = ("reviews",)) -> None:
        settings = build({"data": str(data), "models": {name: {"labels": ["a", "b"]} for name in models}})
        self.app = control_app.create_app(settings=settings, base=ModelFolder("tiny", data))
        self.control: Any = self.app.state.control
        self.keys = Keys.make(self.control.keyring)
        self.client = TestClient(self.app, raise_server_exceptions=False)
        self.ask = asked(self.client)


class KeyedGateway:
    """A gateway on a port, and the keyring whose grants reach it by the long poll."""

    def __init__(self, gateway: Any) -> None:
        self.store, self.board, self.stack = Store(":memory:"), RoutePublisher(), ExitStack()
        self.ring = ApiKeyStore(store=self.store, clock=utc_now, changed=self.board.publish_keys)
        self.board.publish(gateway.table(gateway.engine_url))
        app = FastAPI()
        app.include_router(publisher.create_router(self.board))
        url = self.stack.enter_context(running(app))
        self.gateway = gateway.open(control=url, cached=False, access="keys")
        self.ask = asked(gateway.http)

    def settle(self) -> None:
        """Waits until the gateway has every key."""
        self.gateway.until(lambda: self.gateway.app.state.tables.keys == self.ring.grants, 5)
