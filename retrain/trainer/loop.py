"""The training loop: the same rows, settings and seed give the same adapter, also after a kill.

Where there is a dev part, its loss ends the training and chooses the weights.
"""

import hashlib
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import TrainingFailed
from retrain.trainer.batches import Example, learning_rate, score_points, steps_of
from retrain.trainer.checkpoint import (
    Checkpoint,
    read_checkpoint,
    restore_tensors,
    set_weights,
    state_tensors,
    write_checkpoint,
)
from retrain.trainer.dev import DevLosses, DevPart
from retrain.trainer.job import Job, Step
from retrain.trainer.objectives import Objective, Scored
from retrain.trainer.pause import EXIT_CODE, PauseRequest
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.replay import Replay

WARMUP = 5
MOST_NORM = 1.0
# Parts of a job that its adapter does not depend on; the examples are compared themselves.
NO_EFFECT = (
    "run_id",
    "snapshot",
    "output",
    "answers",
    "min_rows",
    "checkpoint_s",
    "labels",
    "kpi",
    "share",
    "resamples",
    "then",
)


def identity_of(job: Job, examples: Sequence[Example], replayed: Sequence[TokenSequence] = (), after: str = "") -> str:
    """Return a hash of all that the adapter depends on: examples and replayed rows, base, and how it trains.

    `after` is the identity of the objective before.
    """
    kept = {name: value for name, value in asdict(job).items() if name not in NO_EFFECT}
    if not job.replay:
        del kept["replay"]  # as before there was any, so that a training which began then continues
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for row in (*examples, *replayed):
        digest.update(repr(row).encode())
    digest.update(after.encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class StepMade:
    """What a step was: its loss, its learning rate, and the norm of its gradient before it is cut.

    `replay_kl` is the divergence from the base model on replayed rows, None without any.
    """

    loss: float
    rate: float
    norm: float
    replay_kl: float | None = None


class Loop:
    """Train the adapter of a PEFT model on examples. `report` gets each step; `clock` returns seconds.

    A second objective comes `after` the identity of the first one, and begins with the adapter that the model has then.
    """

    def __init__(
        self,
        job: Job,
        scored: Scored,
        objective: Objective,
        examples: Sequence[Example],
        *,
        report: Callable[[Step], None],
        dev: DevPart | None = None,
        replay: Replay | None = None,
        after: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._scored = scored
        self._objective = objective
        self._examples = examples
        self._report = report
        self._clock = clock
        self._folder = Path(job.output)
        self._replay = replay
        replayed = replay.rows if replay else ()
        self.identity = identity_of(job, [*examples, *(dev.examples if dev else ())], replayed, after)
        self._before = "null"
        self._dev = dev
        self._losses = DevLosses(job.patience)
        self._best: dict[str, Tensor] = {}
        self._named: dict[str, Tensor] = {
            name: parameter for name, parameter in scored.model.named_parameters() if parameter.requires_grad
        }
        # On a CPU one kernel per tensor is faster than one per operation.
        on_cpu = all(parameter.device.type == "cpu" for parameter in self._named.values())
        self._optimizer = torch.optim.AdamW(
            self._named.values(), lr=job.learning_rate, weight_decay=0.0, fused=True if on_cpu else None
        )

    def find_begun(self) -> Checkpoint | None:
        """Return the last checkpoint of this objective, None if it has not begun."""
        return read_checkpoint(self._folder, self.identity)

    def begin(self, before: dict[str, Any] | None) -> None:
        """Write a checkpoint with the present weights, so that the objective before is not repeated after a kill.

        `before` is the report of that objective's dev part.
        """
        self._before = json.dumps(before)
        self._save(0)

    def run(self, pause: PauseRequest) -> dict[str, Any] | None:
        """Train to the last step, or until the loss on dev rows does not fall any more. Raises TrainingFailed.

        Begins at the last checkpoint if there is one. The weights with the lowest dev loss are kept. Returns the report
        of the dev part, None without one. After a request to pause, the step in progress is the last one: a checkpoint
        is written, and the process ends.
        """
        job = self._job
        steps = steps_of(job, len(self._examples))
        first, started, saved = self._resume(), self._clock(), self._clock()
        tokens = 0
        for index in range(first, len(steps)):
            made = self.step(steps[index], index, len(steps))
            tokens += self._tokens(steps[index], index)
            dev = self._measure_dev(index + 1, len(steps))
            seconds = self._clock() - started
            metrics = {
                "loss": round(made.loss, 6),
                **({} if made.replay_kl is None else {"replay_kl": round(made.replay_kl, 6)}),
                **dev,
                "learning_rate": made.rate,
                "grad_norm": round(made.norm, 4),
                "seconds": round(seconds, 1),
                "tokens_per_s": round(tokens / seconds, 1) if seconds else None,
                "seconds_left": round(seconds / (index + 1 - first) * (len(steps) - index - 1), 1),
                "memory_gb": peak_memory_gb(),
            }
            self._report(Step(index + 1, len(steps), metrics))
            if self._losses.stops:
                break
            due = pause.asked or self._clock() - saved >= job.checkpoint_s
            if due and index + 1 < len(steps):
                self._save(index + 1)
                saved = self._clock()
                if pause.asked:
                    raise SystemExit(EXIT_CODE)
        return self._finish(len(steps))

    def _finish(self, total: int) -> dict[str, Any] | None:
        """Set the weights to keep, and return the report of the dev part, None without one."""
        if self._dev is None:
            return None
        if self._best:
            set_weights(self._named, self._best)
            kept, loss = self._losses.best
            if kept not in dict(self._losses.scores):
                self._score(kept, loss)
        found = self._losses.report(len(self._dev.examples), total)
        return found | self._dev.resampled(self._job.resamples) if self._job.resamples else found

    def _measure_dev(self, done: int, total: int) -> dict[str, float]:
        """Measure the dev part where that is due: its loss, whose lowest weights are kept, and its score.

        A score costs as much as a third of the steps between two losses, so only a search asks for several. Otherwise
        the weights to keep are scored at the end.
        """
        job = self._job
        if self._dev is None:
            return {}
        found: dict[str, float] = {}
        if job.dev_steps and (done % job.dev_steps == 0 or done == total):
            found["dev_loss"] = loss = self._dev.loss()
            if self._losses.add(done, loss):
                self._best = {name: parameter.detach().clone() for name, parameter in self._named.items()}
        if done in score_points(total, job.scores):
            found = self._score(done, found.get("dev_loss")) | found
        return {name: round(value, 6) for name, value in found.items()}

    def _score(self, step: int, loss: float | None) -> dict[str, float]:
        """Score the dev part with the present weights, which are those of a step. `loss` is their loss if known."""
        assert self._dev is not None, "only a dev part is scored"
        score = {name: round(value, 6) for name, value in self._dev.score(loss).items()}
        self._losses.scores = sorted([*self._losses.scores, (step, score)], key=lambda one: one[0])
        return score

    def step(self, numbers: Sequence[int], index: int, total: int) -> StepMade:
        """Make one step on examples by number. Raises TrainingFailed if its gradient is no number."""
        rate = learning_rate(index, total, peak=self._job.learning_rate, warmup=WARMUP)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        replay = self._replay
        loss = self._objective.backward(self._scored, self._examples, numbers, 1 - replay.share if replay else 1.0)
        replay_kl = replay.backward(self._scored.model, index) if replay else None
        norm = float(torch.nn.utils.clip_grad_norm_(self._named.values(), MOST_NORM))
        if not norm < float("inf"):
            raise TrainingFailed(
                f"The loss of step {index + 1} is {loss}, the norm of its gradient {norm}.",
                hint="Lower retrain.learning_rate.",
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return StepMade(loss, rate, norm, replay_kl)

    def _tokens(self, numbers: Sequence[int], index: int) -> int:
        """Return the tokens of a step's rows, with those that it replays."""
        rows = [one for n in numbers for one in self._examples[n].sequences]
        return sum(len(one.tokens) for one in [*rows, *(self._replay.of_step(index) if self._replay else ())])

    def _resume(self) -> int:
        found = self.find_begun()
        if found is None:
            return 0
        self._before = found.before
        self._best = restore_tensors(found.tensors, self._named, self._optimizer)
        self._losses.restore(found.dev)
        return found.done

    def _save(self, done: int) -> None:
        tensors = state_tensors(self._named, self._optimizer, self._best)
        found = Checkpoint(self.identity, done, tensors, self._losses.to_json(), self._before)
        write_checkpoint(found, self._folder)


def peak_memory_gb() -> float:
    """Return the largest memory that this process had, in GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
