"""The asynchronous client: the methods of the synchronous one, awaited."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any, Self, Unpack

import httpx

from core.errors import LoraLoopError
from loraloop import calls
from loraloop.calls import About, Call, Flag, Json
from loraloop.connection import RETRIES, TIMEOUT_S, Connection, checked, kept, unreachable
from loraloop.retries import wait_after_error, wait_after_response


class AsyncClient:
    """As `Client`, for asyncio.

    async with AsyncClient(gateway="http://127.0.0.1:8080", key="llk_…") as client:
        await client.thumbs("chatcmpl-15a340ce", True, user="ada")
    """

    def __init__(
        self,
        *,
        gateway: str | None = None,
        control: str | None = None,
        key: str | None = None,
        retries: int = RETRIES,
        http: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """As of `Client`."""
        self.connection = Connection(gateway, control, key, retries)
        self.http = http or httpx.AsyncClient(timeout=TIMEOUT_S)
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    # Feedback

    async def thumbs(self, interaction_id: str, up: bool, **about: Unpack[About]) -> str:
        """As `Client.thumbs`."""
        return await self._give_one(calls.item("thumbs", up, interaction_id, about))

    async def rating(self, interaction_id: str, value: float, **about: Unpack[About]) -> str:
        """As `Client.rating`."""
        return await self._give_one(calls.item("rating", value, interaction_id, about))

    async def label(self, interaction_id: str, label: str, **about: Unpack[About]) -> str:
        """As `Client.label`."""
        return await self._give_one(calls.item("label", label, interaction_id, about))

    async def correction(self, interaction_id: str, answer: Any, **about: Unpack[About]) -> str:
        """As `Client.correction`."""
        return await self._give_one(calls.item("correction", answer, interaction_id, about))

    async def preference(self, chosen: str, rejected: str, **about: Unpack[About]) -> str:
        """As `Client.preference`."""
        return await self._give_one(calls.item("preference", {"chosen": chosen, "rejected": rejected}, None, about))

    async def comment(self, interaction_id: str, text: str, **about: Unpack[About]) -> str:
        """As `Client.comment`."""
        return await self._give_one(calls.item("comment", text, interaction_id, about))

    async def flag(self, interaction_id: str, flag: Flag, **about: Unpack[About]) -> str:
        """As `Client.flag`."""
        return await self._give_one(calls.item("flag", flag, interaction_id, about))

    async def give(self, items: Sequence[Mapping[str, Any]]) -> list[str | LoraLoopError]:
        """As `Client.give`."""
        found: list[str | LoraLoopError] = []
        for batch in calls.batches(items):
            try:
                found += kept(batch, await self.respond(batch))
            except LoraLoopError as error:
                if not found:
                    raise
                return [*found, *[error] * (len(items) - len(found))]
        return found

    async def take_back(self, feedback_id: str) -> None:
        """As `Client.take_back`."""
        await self.send(calls.take_back(feedback_id))

    async def take_back_of(self, interaction_id: str, user: str) -> None:
        """As `Client.take_back_of`."""
        await self.send(calls.take_back_of(interaction_id, user))

    # Models, runs and promotions

    async def models(self) -> list[Json]:
        """As `Client.models`."""
        return await self.send(calls.read("/api/models"))

    async def versions(self, model: str) -> list[Json]:
        """As `Client.versions`."""
        return await self.send(calls.versions(model))

    async def runs(self, model: str | None = None, *, limit: int = 50) -> list[Json]:
        """As `Client.runs`."""
        return await self.send(calls.read("/api/runs", model=model, limit=limit))

    async def run(self, run_id: str) -> Json:
        """As `Client.run`."""
        return await self.send(calls.one("runs", run_id))

    async def retrain(self, model: str, *, comment: str = "") -> str:
        """Start a run now. Returns its id."""
        return (await self.send(calls.of_model(model, "retrain", comment=comment)))["run_id"]

    async def wait(self, run_id: str, *, poll_s: float = 2.0, timeout_s: float | None = None) -> Json:
        """As `Client.wait`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (run := await self.run(run_id))["is_working"]:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{run_id} is {run['state']} after {timeout_s:g} s.")
            await self._sleep(poll_s)
        return run

    async def cancel_run(self, run_id: str, *, comment: str = "") -> Json:
        """End a run that is queued, paused or in progress."""
        return await self.send(calls.of_one("runs", run_id, "cancel", comment=comment))

    async def pause_run(self, run_id: str, *, comment: str = "") -> Json:
        """Pause a run. A training ends after its step, with a checkpoint."""
        return await self.send(calls.of_one("runs", run_id, "pause", comment=comment))

    async def resume_run(self, run_id: str, *, comment: str = "") -> Json:
        """Continue a paused run."""
        return await self.send(calls.of_one("runs", run_id, "resume", comment=comment))

    async def promotions(self, model: str | None = None, *, limit: int = 50) -> list[Json]:
        """As `Client.promotions`."""
        return await self.send(calls.read("/api/promotions", model=model, limit=limit))

    async def promotion(self, decision_id: str) -> Json:
        """As `Client.promotion`."""
        return await self.send(calls.one("promotions", decision_id))

    async def promote(self, model: str, version: int, *, comment: str = "") -> Json:
        """Put a version in service past the gate. The ledger says that a person did."""
        return await self.send(calls.of_model(model, "promote", version=version, comment=comment))

    async def rollback(self, model: str, *, to: int | None = None, keep_data: bool = False, comment: str = "") -> Json:
        """Put an earlier version back, by default the one before. While a canary runs, only the canary ends."""
        return await self.send(calls.of_model(model, "rollback", to=to, keep_data=keep_data, comment=comment))

    async def stop_canary(self, model: str, *, keep_data: bool = False, comment: str = "") -> Json:
        """Stop the canary of a model. The champion stays."""
        return await self.send(calls.of_model(model, "canary/stop", keep_data=keep_data, comment=comment))

    async def pause_canary(self, model: str, *, comment: str = "") -> Json:
        """Have the champion serve everyone until the canary is resumed."""
        return await self.send(calls.of_model(model, "canary/pause", comment=comment))

    async def resume_canary(self, model: str, *, comment: str = "") -> Json:
        """Serve a paused canary again. Its count of users begins from zero."""
        return await self.send(calls.of_model(model, "canary/resume", comment=comment))

    async def set_canary_share(self, model: str, share: float, *, comment: str = "") -> Json:
        """Serve a canary to another share of users, at most 0.5. Its count of users begins from zero."""
        return await self.send(calls.of_model(model, "canary/share", share=share, comment=comment))

    async def freeze(self, model: str, *, comment: str = "") -> Json:
        """Let no candidate of a model get users or become champion automatically."""
        return await self.send(calls.of_model(model, "freeze", comment=comment))

    async def unfreeze(self, model: str, *, comment: str = "") -> Json:
        """End the freeze of a model."""
        return await self.send(calls.of_model(model, "unfreeze", comment=comment))

    async def approve(self, decision_id: str, *, comment: str = "") -> Json:
        """Approve a candidate that waits for a person."""
        return await self.send(calls.of_one("promotions", decision_id, "approve", comment=comment))

    async def reject(self, decision_id: str, comment: str, *, keep_data: bool = False) -> Json:
        """As `Client.reject`."""
        return await self.send(calls.of_one("promotions", decision_id, "reject", comment=comment, keep_data=keep_data))

    # Erasure

    async def preview_erasure(self, user: str, *, key: str | None = None) -> Json:
        """As `Client.preview_erasure`."""
        return await self.send(calls.preview_of_erasure(user, key))

    async def erase(self, user: str, *, key: str | None = None, comment: str = "") -> Json:
        """Erase a user, of every key or of one key. It goes on after the response, until its state is `done`."""
        return await self.send(calls.act("/api/erasures", user=user, key=key, comment=comment))

    async def erasure(self, erasure_id: str) -> Json:
        """As `Client.erasure`."""
        return await self.send(calls.one("erasures", erasure_id))

    # Sending

    async def send(self, call: Call) -> Any:
        """As `Client.send`."""
        return checked(call, await self.respond(call))

    async def respond(self, call: Call) -> httpx.Response:
        """As `Client.respond`."""
        request, retries = self.connection.request(call), self.connection.retries
        for attempt in count():
            try:
                response = await self.http.request(**request)
            except httpx.HTTPError as error:
                wait = wait_after_error(call, error, attempt, retries)
                if wait is None:
                    raise unreachable(call.server, self.connection.url(call.server)) from error
            else:
                wait = wait_after_response(call, response.status_code, response.headers, attempt, retries)
                if wait is None:
                    return response
            await self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _give_one(self, one: Mapping[str, Any]) -> str:
        (found,) = await self.give([one])
        if isinstance(found, LoraLoopError):
            raise found
        return found
