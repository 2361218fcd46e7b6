"""A gateway with control's routes for it, for tests of stored responses and completions by real clients."""

from contextlib import ExitStack
from typing import Any

import openai
from fastapi import FastAPI

from core.api_key_store import ApiKeyStore, NewKey
from core.api_keys import Scope
from core.clock import utc_now
from core.db.store import Store
from core.http import install_errors
from feedback import ingest
from serve.engines.fake import running
from serve.responses import store
from serve.responses.store import ResponseStore
from serve.routing import publisher
from serve.routing.publisher import RoutePublisher
from serve.stored_completions import store as completion_store
from serve.stored_completions.store import CompletionStore


class World:
    """A gateway, control's routes for it with their store, and clients by key."""

    def __init__(self, gateway: Any, **settings: Any) -> None:
        self.stack, self.store, self.board = ExitStack(), Store(":memory:"), RoutePublisher()
        self.ring = ApiKeyStore(store=self.store, clock=utc_now, changed=self.board.publish_keys)
        self.board.publish(gateway.table(gateway.engine_url))
        app = FastAPI()
        install_errors(app)
        app.include_router(publisher.create_router(self.board))
        app.include_router(ingest.create_router(self.store))
        app.include_router(store.create_router(ResponseStore(self.store)))
        app.include_router(completion_store.create_router(CompletionStore(self.store)))
        self.control = ExitStack()
        url = self.control.enter_context(running(app))
        self.gateway = gateway.open(control=url, cached=False, access="keys", **settings)

    def client(self, *scopes: Scope, models: tuple[str, ...] | None = None) -> Any:
        made = self.ring.make(NewKey("app", scopes or (Scope.INFER,), models), "test")
        self.gateway.until(lambda: self.gateway.app.state.tables.keys == self.ring.grants)
        http = openai.DefaultHttpxClient(trust_env=False)
        client = openai.OpenAI(
            base_url=f"{self.gateway.http.base_url}/v1", api_key=made.key, max_retries=0, http_client=http
        )
        return self.stack.enter_context(client)

    def close(self) -> None:
        self.gateway.stack.close()
        self.stack.close()
        self.control.close()
        self.store.close()

    def sent(self) -> dict[str, Any]:
        return self.gateway.engine.requests[-1][1]
