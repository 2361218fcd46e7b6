"""The synchronous client."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Self, Unpack

import httpx

from core.errors import LoraLoopError
from loraloop import calls
from loraloop.calls import About, Call, Flag, Json
from loraloop.connection import RETRIES, TIMEOUT_S, Connection, checked, kept, unreachable
from loraloop.retries import wait_after_error, wait_after_response


class Client:
    """A client of a gateway (feedback) and of control (everything else). Safe to use from several threads.

    The URLs and the key come from `LORALOOP_GATEWAY_URL`, `LORALOOP_URL` (control) and `LORALOOP_KEY` if they are not
    given. A request that got no answer, or a busy server's, is sent again up to `retries` times where that is safe.
    Every method raises LoraLoopError: Refused with the server's message, KeyRefused, or Unreachable.

        client = Client(gateway="http://127.0.0.1:8080", key="llk_…")
        client.thumbs("chatcmpl-15a340ce", True, user="ada")
    """

    def __init__(
        self,
        *,
        gateway: str | None = None,
        control: str | None = None,
        key: str | None = None,
        retries: int = RETRIES,
        http: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`http` replaces the HTTP client, for own certificates, proxies or timeouts. Raises InputError."""
        self.connection = Connection(gateway, control, key, retries)
        self.http = http or httpx.Client(timeout=TIMEOUT_S)
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # Feedback

    def thumbs(self, interaction_id: str, up: bool, **about: Unpack[About]) -> str:
        """Say whether an answer is good. Returns the id of the feedback, as do all methods that give some."""
        return self._give_one(calls.item("thumbs", up, interaction_id, about))

    def rating(self, interaction_id: str, value: float, **about: Unpack[About]) -> str:
        """Rate an answer, on any scale that the app always uses."""
        return self._give_one(calls.item("rating", value, interaction_id, about))

    def label(self, interaction_id: str, label: str, **about: Unpack[About]) -> str:
        """Say what the right label is."""
        return self._give_one(calls.item("label", label, interaction_id, about))

    def correction(self, interaction_id: str, answer: Any, **about: Unpack[About]) -> str:
        """Say what the right answer is: a text, a JSON value, or `{"tool_calls": […]}`."""
        return self._give_one(calls.item("correction", answer, interaction_id, about))

    def preference(self, chosen: str, rejected: str, **about: Unpack[About]) -> str:
        """Say which of two answers is better, by the ids of their interactions."""
        return self._give_one(calls.item("preference", {"chosen": chosen, "rejected": rejected}, None, about))

    def comment(self, interaction_id: str, text: str, **about: Unpack[About]) -> str:
        """Comment on an answer."""
        return self._give_one(calls.item("comment", text, interaction_id, about))

    def flag(self, interaction_id: str, flag: Flag, **about: Unpack[About]) -> str:
        """Report an answer. One that is `unsafe` or `private` is never learnt from."""
        return self._give_one(calls.item("flag", flag, interaction_id, about))

    def give(self, items: Sequence[Mapping[str, Any]]) -> list[str | LoraLoopError]:
        """Give any number of objects of feedback, as `POST /v1/feedback` takes them.

        Returns the id of each, or the error that says why it was not kept. The others are kept. Raises LoraLoopError if
        none could be sent. Objects with ids of their own can be given again without counting twice.
        """
        found: list[str | LoraLoopError] = []
        for batch in calls.batches(items):
            try:
                found += kept(batch, self.respond(batch))
            except LoraLoopError as error:
                if not found:
                    raise
                return [*found, *[error] * (len(items) - len(found))]
        return found

    def take_back(self, feedback_id: str) -> None:
        """Take back feedback that this key gave."""
        self.send(calls.take_back(feedback_id))

    def take_back_of(self, interaction_id: str, user: str) -> None:
        """Take back everything that a user said about an interaction."""
        self.send(calls.take_back_of(interaction_id, user))

    # Models, runs and promotions

    def models(self) -> list[Json]:
        """Every model with what serves it."""
        return self.send(calls.read("/api/models"))

    def versions(self, model: str) -> list[Json]:
        """The versions of a model."""
        return self.send(calls.versions(model))

    def runs(self, model: str | None = None, *, limit: int = 50) -> list[Json]:
        """Runs with their progress, newest first."""
        return self.send(calls.read("/api/runs", model=model, limit=limit))

    def run(self, run_id: str) -> Json:
        """One run with every step, trial and KPI."""
        return self.send(calls.one("runs", run_id))

    def retrain(self, model: str, *, comment: str = "") -> str:
        """Start a run now. Returns its id."""
        return self.send(calls.of_model(model, "retrain", comment=comment))["run_id"]

    def wait(self, run_id: str, *, poll_s: float = 2.0, timeout_s: float | None = None) -> Json:
        """Wait until nothing more is done for a run: it has ended, or is paused, or waits for users or a person.

        Raises TimeoutError after `timeout_s`. The run goes on then.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (run := self.run(run_id))["is_working"]:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{run_id} is {run['state']} after {timeout_s:g} s.")
            self._sleep(poll_s)
        return run

    def cancel_run(self, run_id: str, *, comment: str = "") -> Json:
        """End a run that is queued, paused or in progress."""
        return self.send(calls.of_one("runs", run_id, "cancel", comment=comment))

    def pause_run(self, run_id: str, *, comment: str = "") -> Json:
        """Pause a run. A training ends after its step, with a checkpoint."""
        return self.send(calls.of_one("runs", run_id, "pause", comment=comment))

    def resume_run(self, run_id: str, *, comment: str = "") -> Json:
        """Continue a paused run."""
        return self.send(calls.of_one("runs", run_id, "resume", comment=comment))

    def promotions(self, model: str | None = None, *, limit: int = 50) -> list[Json]:
        """The log of promotions, newest first."""
        return self.send(calls.read("/api/promotions", model=model, limit=limit))

    def promotion(self, decision_id: str) -> Json:
        """One decision with its evidence."""
        return self.send(calls.one("promotions", decision_id))

    def promote(self, model: str, version: int, *, comment: str = "") -> Json:
        """Put a version in service past the gate. The ledger says that a person did."""
        return self.send(calls.of_model(model, "promote", version=version, comment=comment))

    def rollback(self, model: str, *, to: int | None = None, keep_data: bool = False, comment: str = "") -> Json:
        """Put an earlier version back, by default the one before. While a canary runs, only the canary ends."""
        return self.send(calls.of_model(model, "rollback", to=to, keep_data=keep_data, comment=comment))

    def stop_canary(self, model: str, *, keep_data: bool = False, comment: str = "") -> Json:
        """Stop the canary of a model. The champion stays."""
        return self.send(calls.of_model(model, "canary/stop", keep_data=keep_data, comment=comment))

    def pause_canary(self, model: str, *, comment: str = "") -> Json:
        """Have the champion serve everyone until the canary is resumed."""
        return self.send(calls.of_model(model, "canary/pause", comment=comment))

    def resume_canary(self, model: str, *, comment: str = "") -> Json:
        """Serve a paused canary again. Its count of users begins from zero."""
        return self.send(calls.of_model(model, "canary/resume", comment=comment))

    def set_canary_share(self, model: str, share: float, *, comment: str = "") -> Json:
        """Serve a canary to another share of users, at most 0.5. Its count of users begins from zero."""
        return self.send(calls.of_model(model, "canary/share", share=share, comment=comment))

    def freeze(self, model: str, *, comment: str = "") -> Json:
        """Let no candidate of a model get users or become champion automatically."""
        return self.send(calls.of_model(model, "freeze", comment=comment))

    def unfreeze(self, model: str, *, comment: str = "") -> Json:
        """End the freeze of a model."""
        return self.send(calls.of_model(model, "unfreeze", comment=comment))

    def approve(self, decision_id: str, *, comment: str = "") -> Json:
        """Approve a candidate that waits for a person."""
        return self.send(calls.of_one("promotions", decision_id, "approve", comment=comment))

    def reject(self, decision_id: str, comment: str, *, keep_data: bool = False) -> Json:
        """Reject a candidate that waits for a person, with a reason."""
        return self.send(calls.of_one("promotions", decision_id, "reject", comment=comment, keep_data=keep_data))

    # Erasure

    def preview_erasure(self, user: str, *, key: str | None = None) -> Json:
        """What the erasure of a user would erase."""
        return self.send(calls.preview_of_erasure(user, key))

    def erase(self, user: str, *, key: str | None = None, comment: str = "") -> Json:
        """Erase a user, of every key or of one key. It goes on after the response, until its state is `done`."""
        return self.send(calls.act("/api/erasures", user=user, key=key, comment=comment))

    def erasure(self, erasure_id: str) -> Json:
        """One erasure with its receipt."""
        return self.send(calls.one("erasures", erasure_id))

    # Sending

    def send(self, call: Call) -> Any:
        """Send a request, again if that is safe and may help. Returns the JSON of the response."""
        return checked(call, self.respond(call))

    def respond(self, call: Call) -> httpx.Response:
        """The response to a request, with any status. Raises Unreachable."""
        request, retries = self.connection.request(call), self.connection.retries
        for attempt in count():
            try:
                response = self.http.request(**request)
            except httpx.HTTPError as error:
                wait = wait_after_error(call, error, attempt, retries)
                if wait is None:
                    raise unreachable(call.server, self.connection.url(call.server)) from error
            else:
                wait = wait_after_response(call, response.status_code, response.headers, attempt, retries)
                if wait is None:
                    return response
            self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _give_one(self, one: Mapping[str, Any]) -> str:
        (found,) = self.give([one])
        if isinstance(found, LoraLoopError):
            raise found
        return found
