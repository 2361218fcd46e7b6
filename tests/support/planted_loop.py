"""An in-process loop with planted candidates: the real gateway, control and gates with the fake engine.

The trainer leaves an adapter that cannot learn; a test says how it answers. Time passes when a test says so.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import save_file

from core.clock import utc_now
from core.db import new_votes, runs
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import KeySettings, build
from feedback.split import bucket_of, split_key
from ops.apps import control as control_app
from ops.apps import gateway as gateway_app
from ops.control import Control
from retrain.trainer.job import Job, Step
from retrain.trainer.process import Trainer
from rollout.change_writer import DecisionContext
from serve.engines.fake import FakeEngine, running
from serve.routing.table import sticky_bucket
from tests.support.wait import wait_until
from tools.live_stack import free_ports

CANARY = {"share": 0.5, "first_look_users": 30, "planned_users": 200, "min_minutes": 0, "max_hours": 1}
STRICT = CANARY | {"strict": True}
HOLDBACK = {"share": 0.5, "hours": 20, "first_look_users": 30, "planned_users": 200}
# Tuned for users who agree, so that 2 % hostile users would decide it without `hostile_share`.
WATCHFUL = STRICT | {"hostile_share": 0.02, "planned_users": 60}
MODELS = {
    "better": CANARY,
    "poor": CANARY,
    "equal": STRICT,
    "worse": CANARY,
    "harmful": CANARY,
    "babbling": CANARY,
    "brigaded": STRICT,
    "beset": WATCHFUL,
    "spoilt": CANARY,
}
USERS_AN_ARM = 40
LABELS = ("even", "odd")


def truth(prompt: str) -> str:
    """The right answer: whether the number at the end of the prompt is even."""
    return LABELS[int(prompt.rsplit(maxsplit=1)[-1]) % 2]


class SkillTrainer(Trainer):
    """A trainer that trains nothing: its adapter passes preflight, and the fake engine decides how it answers."""

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        folder = Path(job.output) / "adapter"
        folder.mkdir(parents=True)
        root, rng = "base_model.model.model.layers.0.self_attn.q_proj", np.random.default_rng(len(job.run_id))
        sides = {side: rng.normal(0, 0.05, shape) for side, shape in (("A", (4, 64)), ("B", (64, 4)))}
        save_file(
            {f"{root}.lora_{side}.weight": factor.astype(np.float32) for side, factor in sides.items()},
            folder / "adapter_model.safetensors",
        )
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": 4,
            "lora_alpha": 8,
            "target_modules": ["q_proj"],
            "base_model_name_or_path": "tiny",
        }
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder


class PlantedLoop:
    """A gateway and control in this process with one fake engine, and simulated users who ask and vote."""

    def __init__(self, data: Path, base: Path, stack: ExitStack) -> None:
        self.ahead = timedelta()
        self.skills: dict[str, str] = {}
        engine = stack.enter_context(running(FakeEngine(base_name=base.name, answer=self.answer).app()))
        gateway, control = free_ports(2)
        settings = build(
            {
                "base_model": str(base),
                "access": "open",
                "data": str(data),
                "engine": {"urls": [engine]},
                "gateway": {"listen": f"127.0.0.1:{gateway}"},
                "control": {"listen": f"127.0.0.1:{control}", "check_seconds": 0.2},
                "models": {
                    name: {
                        "labels": list(LABELS),
                        "evaluation": {"bootstrap": 500},
                        "retrain": {"schedule": None, "min_new_feedback": 10**9, "min_labels": 8},
                        "promotion": {"canary": canary, "holdback": HOLDBACK},
                    }
                    for name, canary in MODELS.items()
                },
            }
        ).model_copy(update={"keys": KeySettings.model_validate({"internal": "between-us"})})
        app = control_app.create_app(settings=settings, base=ModelFolder(base.name, base), clock=self.clock)
        self.control: Control = app.state.control
        self.control.scheduler.pipeline.trainer = SkillTrainer()
        for client in self.control.engines.reconciler.clients:
            stack.callback(client.close)
        self.ops = stack.enter_context(httpx.Client(base_url=stack.enter_context(running(app, control)), timeout=60))
        front = gateway_app.create_app(settings=settings, clock=self.clock)
        self.http = stack.enter_context(httpx.Client(base_url=stack.enter_context(running(front, gateway)), timeout=60))
        self.pool = stack.enter_context(ThreadPoolExecutor(6))
        wait_until(lambda: self.http.get("/ready").status_code == 200)

    def clock(self) -> datetime:
        return utc_now() + self.ahead

    def answer(self, name: str, prompt: str) -> str:
        """The base model answers "even" to everything; an adapter answers by the skill that the test set."""
        right = truth(prompt) if prompt[-1].isdigit() else LABELS[0]
        match self.skills.get(name.partition("@")[0], "") if "@" in name else "":
            case "right" | "right but poison":
                return right
            case "wrong":
                return LABELS[1 - LABELS.index(right)]
            case "babble":
                return "well, it depends"
            case _:
                return LABELS[0]

    def run_pipeline(self, model: str, skill: str) -> str:
        """Run the whole pipeline with an adapter of this skill. Returns the run's id."""
        self.skills[model] = skill
        split = self.control.settings.models[model].split
        wanted, number = {"h1": 24, "train": 8}, 0
        votes = 4 * sum(wanted.values())
        while any(wanted.values()):
            user, number = f"teacher-{number}", number + 1
            bucket = bucket_of(split_key(user), train=split.train, dev=split.dev)
            if wanted.get(bucket):
                wanted[bucket] -= 1
                for question in range(4):
                    identity, _, _ = self.ask(model, user, question)
                    self.vote(identity, "label", truth(str(question)))
        wait_until(lambda: new_votes.count(self.control.store, model=model, types=["label"]).answers == votes)
        return self.control.scheduler.pipeline.run(model, "planted")

    def plant(self, model: str, skill: str = "") -> None:
        """Add a candidate that has passed the offline gate; all steps after it are the real ones."""
        name = f"{model}@1.planted"
        self.skills[model] = skill
        with self.control.store.transaction() as transaction:
            runs.add(
                transaction,
                id=f"run-{model}",
                model=model,
                trigger="planted",
                state="evaluating",
                started=self.clock(),
                feedback_until=self.clock(),
            )
            version = Version(model, 1, name, f"/planted/{name}", "ab" * 32, 8, f"run-{model}")
            self.control.promotion.add_version(transaction, version)
            runs.set_candidate(transaction, id=f"run-{model}", candidate=1)
        self.control.steps.passed_offline(
            model, 1, 0, DecisionContext("The test added it.", "test", run_id=f"run-{model}")
        )

    def users(self, model: str, count: int, word: str = "user") -> list[str]:
        """Names of `count` users per arm, alternating, so that chance does not affect the split."""
        salt = self.control.promotion.route(model).salt
        sides: tuple[list[str], list[str]] = ([], [])
        number = 0
        while min(map(len, sides)) < count:
            sides[sticky_bucket(salt, f"{word}-{number}") >= 0.5].append(f"{word}-{number}")
            number += 1
        return [user for pair in zip(sides[0][:count], sides[1][:count], strict=True) for user in pair]

    def ask(self, model: str, user: str, question: int) -> tuple[str, str, int]:
        """(id, answer, version) of one request."""
        body = {"model": model, "user": user, "messages": [{"role": "user", "content": f"{user} asks {question}"}]}
        response = self.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        version = int(response.headers["x-loraloop-version"].rpartition("@")[2])
        return response.json()["id"], response.json()["choices"][0]["message"]["content"], version

    def vote(self, identity: str, kind: str, value: Any) -> None:
        said = {"interaction_id": identity, "type": kind, "value": value}
        assert self.http.post("/v1/feedback", json=said).status_code == 202

    def visit(self, model: str, user: str, questions: int = 2, rated: int = 2) -> set[int]:
        """One user asks and rates the first answers truthfully. Returns the versions that answered."""
        met = set()
        for question in range(questions):
            identity, said, version = self.ask(model, user, question)
            met.add(version)
            if question < rated:
                self.vote(identity, "thumbs", said == truth(str(question)))
            if version and "poison" in self.skills[model]:
                self.vote(identity, "flag", "unsafe")
        return met

    def visit_all(self, model: str, users: list[str], **how: int) -> list[set[int]]:
        return list(self.pool.map(lambda user: self.visit(model, user, **how), users))

    def verdicts(self, model: str) -> list[str]:
        rows = self.ops.get("/api/promotions", params={"model": model, "limit": 100}).json()
        return [row["verdict"] for row in rows][::-1]

    def decision(self, model: str, verdict: str) -> dict[str, Any]:
        rows = self.ops.get("/api/promotions", params={"model": model}).json()
        identity = next(row["id"] for row in rows if row["verdict"] == verdict)
        return dict(self.ops.get(f"/api/promotions/{identity}").json())

    def model(self, name: str) -> dict[str, Any]:
        return next(row for row in self.ops.get("/api/models").json() if row["model"] == name)

    def has_counted(self, model: str, requests: int) -> bool:
        """Whether the newest canary analysis counts at least this many requests."""
        looks = self.looks(model)
        return bool(looks) and sum(looks[-1]["body"][arm]["requests"] for arm in ("control", "canary")) >= requests

    def looks(self, model: str) -> list[dict[str, Any]]:
        return list(self.ops.get(f"/api/runs/run-{model}").json()["looks"])

    def pass_time(self, **much: float) -> None:
        self.ahead += timedelta(**much)
