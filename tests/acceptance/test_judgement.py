"""Facts about what becomes of planted candidates: real users' requests, labels and votes through the real gateway,
spool, ingest, snapshot, evaluation, gates and ledger; the engine is the fake that ships, the trainer leaves what a test
wants it to, and time passes when a test says so."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from core.clock import utc_now
from core.ledger import verify_store
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import KeySettings, build
from feedback.split import bucket_of, split_key
from ops.apps import control as control_app
from ops.apps import gateway as gateway_app
from ops.control import Control
from retrain.trainer.job import Job, Step
from retrain.trainer.process import Trainer
from rollout.routes import DecisionContext
from serve.engines.fake import FakeEngine, running
from serve.routing.table import sticky_bucket
from tools.live_stack import free_ports

CANARY = {"share": 0.5, "first_look_users": 30, "planned_users": 200, "min_minutes": 0, "max_hours": 1}
STRICT = CANARY | {"strict": True}
HOLDBACK = {"share": 0.5, "hours": 20, "first_look_users": 30, "planned_users": 200}
# The brigade's is tuned for users who are of one mind, so that two in a hundred would turn it.
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
    """What is right to answer: whether the number at the end is even."""
    return LABELS[int(prompt.rsplit(maxsplit=1)[-1]) % 2]


class Workshop(Trainer):
    """Trains nothing: it leaves an adapter that passes preflight; what it can do is the fake engine's to know."""

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


class Town:
    """A gateway and a control in this process before one fake engine, and the people who ask and vote."""

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
        self.control.scheduler.cycle.trainer = Workshop()
        for client in self.control.engines.reconciler.clients:
            stack.callback(client.close)
        self.ops = stack.enter_context(httpx.Client(base_url=stack.enter_context(running(app, control)), timeout=60))
        front = gateway_app.create_app(settings=settings, clock=self.clock)
        self.http = stack.enter_context(httpx.Client(base_url=stack.enter_context(running(front, gateway)), timeout=60))
        self.pool = stack.enter_context(ThreadPoolExecutor(6))
        self.until(lambda: self.http.get("/ready").status_code == 200)

    def clock(self) -> datetime:
        return utc_now() + self.ahead

    def answer(self, name: str, prompt: str) -> str:
        """The base model takes all for even; an adapter can do what a test lets its model's do, or the same."""
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

    def until(self, fact: Callable[[], Any], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.1)

    def train(self, model: str, skill: str) -> str:
        """A whole cycle of the product's own, with an adapter of this skill; returns its run."""
        self.skills[model] = skill
        split = self.control.settings.models[model].split
        wanted, number = {"h1": 24, "train": 8}, 0
        votes = 4 * sum(wanted.values())
        while any(wanted.values()):
            user, number = f"teacher-{number}", number + 1
            bucket = bucket_of(split_key(user, None, ""), train=split.train, dev=split.dev)
            if wanted.get(bucket):
                wanted[bucket] -= 1
                for question in range(4):
                    identity, _, _ = self.ask(model, user, question)
                    self.say(identity, "label", truth(str(question)))
        self.until(lambda: (self.control.store.row("feedback_since", model=model) or {})["n"] == votes)
        return self.control.scheduler.cycle.run(model, "planted")

    def plant(self, model: str, skill: str = "") -> None:
        """A candidate that has passed the offline gate; the steps after it are the product's own."""
        name = f"{model}@1.planted"
        self.skills[model] = skill
        with self.control.store.transaction() as transaction:
            transaction.run(
                "run_add",
                id=f"run-{model}",
                model=model,
                trigger="planted",
                state="evaluating",
                started=self.clock(),
                feedback_until=self.clock(),
            )
            version = Version(model, 1, name, f"/planted/{name}", "ab" * 32, 8, f"run-{model}")
            self.control.promotion.add_version(transaction, version)
            transaction.run("run_candidate", id=f"run-{model}", candidate=1)
        self.control.steps.passed_offline(
            model, 1, 0, DecisionContext("It was planted.", "test", run_id=f"run-{model}")
        )

    def people(self, model: str, count: int, word: str = "user") -> list[str]:
        """As many on either side of the middle, by turns: chance in the split is judged elsewhere, on thousands."""
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

    def say(self, identity: str, kind: str, value: Any) -> None:
        said = {"interaction_id": identity, "type": kind, "value": value}
        assert self.http.post("/v1/feedback", json=said).status_code == 202

    def use(self, model: str, user: str, questions: int = 2, rated: int = 2) -> set[int]:
        """Somebody who says what is true of the first answers; returns the versions that were met."""
        met = set()
        for question in range(questions):
            identity, said, version = self.ask(model, user, question)
            met.add(version)
            if question < rated:
                self.say(identity, "thumbs", said == truth(str(question)))
            if version and "poison" in self.skills[model]:
                self.say(identity, "flag", "unsafe")
        return met

    def crowd(self, model: str, users: list[str], **how: int) -> list[set[int]]:
        return list(self.pool.map(lambda user: self.use(model, user, **how), users))

    def verdicts(self, model: str) -> list[str]:
        rows = self.ops.get("/api/promotions", params={"model": model, "limit": 100}).json()
        return [row["verdict"] for row in rows][::-1]

    def decision(self, model: str, verdict: str) -> dict[str, Any]:
        rows = self.ops.get("/api/promotions", params={"model": model}).json()
        identity = next(row["id"] for row in rows if row["verdict"] == verdict)
        return dict(self.ops.get(f"/api/promotions/{identity}").json())

    def model(self, name: str) -> dict[str, Any]:
        return next(row for row in self.ops.get("/api/models").json() if row["model"] == name)

    def counted(self, model: str, requests: int) -> bool:
        """Whether the newest look at a canary has seen so many requests."""
        looks = self.looks(model)
        return bool(looks) and sum(looks[-1]["body"][arm]["requests"] for arm in ("control", "canary")) >= requests

    def looks(self, model: str) -> list[dict[str, Any]]:
        return list(self.ops.get(f"/api/runs/run-{model}").json()["looks"])

    def pass_time(self, **much: float) -> None:
        self.ahead += timedelta(**much)


@pytest.fixture(scope="module")
def town(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(tmp_path_factory.mktemp("town"), tiny_base, stack)


def test_a_better_candidate_is_promoted_and_nobody_is_moved_who_need_not(town: Town) -> None:
    run = town.train("better", "right")
    users = town.people("better", USERS_AN_ARM)
    before = town.crowd("better", users)
    assert before == [{1}, {0}] * USERS_AN_ARM
    town.until(lambda: "switched" in town.verdicts("better"))
    assert town.verdicts("better") == ["canary_started", "promoted", "switched"]
    found = town.decision("better", "promoted")
    assert found["live"]["rollback_target"] == 0 and found["live"]["latency"]["canary"]["p95_ms"] > 0
    assert found["live"]["canary"]["rate_mean"] > 0.9 and found["gate_code"] and found["run_id"] == run
    begun = town.decision("better", "canary_started")
    assert begun["live"]["forecast"]["sentence"] and begun["live"]["plan"]["settings"]["planned_users"] == 200
    assert begun["evidence"]["arms"]["candidate"]["macro_f1"]["value"] == 1
    # Half of the users are held back here, the very ones that the canary had not: nobody changes sides.
    assert town.crowd("better", users, rated=0) == before
    assert town.model("better")["holdback"]["version"] == 0


def test_a_promotion_without_harm_is_confirmed_when_its_holdback_is_over(town: Town) -> None:
    town.crowd("better", town.people("better", USERS_AN_ARM))
    town.pass_time(hours=21)
    town.until(lambda: town.verdicts("better")[-1] == "confirmed")
    assert town.model("better")["holdback"] is None
    users = town.people("better", 5)
    town.until(lambda: town.crowd("better", users, rated=0) == [{1}] * 10)


def test_a_worse_candidate_never_meets_a_user(town: Town) -> None:
    run = town.train("poor", "wrong")
    assert town.verdicts("poor") == ["kept"]
    found = town.decision("poor", "kept")
    assert found["run_id"] == run and "macro_f1" in found["reason"]
    assert found["evidence"]["arms"]["candidate"]["macro_f1"]["value"] == 0
    assert (town.model("poor")["champion"], town.model("poor")["canary"]) == (0, None)


def test_an_equal_candidate_does_not_take_over(town: Town) -> None:
    town.plant("equal")
    town.crowd("equal", town.people("equal", USERS_AN_ARM))
    town.until(lambda: town.counted("equal", 4 * USERS_AN_ARM))
    assert town.model("equal")["canary"] == 1
    town.pass_time(hours=2)
    town.until(lambda: town.verdicts("equal")[-1] == "inconclusive")
    assert (town.model("equal")["champion"], town.model("equal")["canary"]) == (0, None)


@pytest.mark.parametrize(
    ("model", "skill", "says"),
    [
        ("worse", "wrong", "worse than the champion"),
        ("harmful", "right but poison", "harmed"),
        ("babbling", "babble", "outside the labels"),
    ],
)
def test_what_is_worse_or_harmful_only_where_users_meet_it_is_rolled_back(
    town: Town, model: str, skill: str, says: str
) -> None:
    town.plant(model, skill)
    town.crowd(model, town.people(model, USERS_AN_ARM))
    town.until(lambda: town.verdicts(model)[-1] == "rolled_back")
    assert (town.model(model)["champion"], town.model(model)["canary"]) == (0, None)
    assert says in town.decision(model, "rolled_back")["reason"]
    assert "cooldown_hours" in town.model(model)["limits"]


def test_voters_in_numbers_and_voters_in_a_frenzy_promote_nothing(town: Town) -> None:
    town.plant("brigaded")
    honest = town.people("brigaded", USERS_AN_ARM)
    town.crowd("brigaded", honest, questions=4, rated=2)
    new = town.people("brigaded", 30, "newcomer")
    for user in new:  # they appear to vote for the candidate, once, if it is they who meet it
        identity, _, version = town.ask("brigaded", user, 0)
        if version == 1:
            town.say(identity, "thumbs", True)
    busy = town.people("brigaded", 2, "fan")
    for user in busy:  # and two never stop
        for question in range(30):
            identity, _, version = town.ask("brigaded", user, question)
            if version == 1:
                town.say(identity, "thumbs", True)
    requests = 4 * len(honest) + len(new) + 30 * len(busy)
    town.until(lambda: town.counted("brigaded", requests))
    assert town.model("brigaded")["canary"] == 1
    town.pass_time(hours=2)
    town.until(lambda: town.verdicts("brigaded")[-1] == "inconclusive")
    assert town.model("brigaded")["champion"] == 0
    assert town.decision("brigaded", "inconclusive")["live"]["canary"]["users"] > USERS_AN_ARM


def test_two_in_a_hundred_who_vote_the_candidate_up_and_the_champion_down_promote_nothing(town: Town) -> None:
    town.plant("beset")
    users = town.people("beset", 250)
    hostile = set(users[:10])  # as many on either side, two in a hundred of all

    def visit(user: str) -> None:
        for question in range(2):
            identity, said, version = town.ask("beset", user, question)
            town.say(identity, "thumbs", version == 1 if user in hostile else said == truth(str(question)))

    list(town.pool.map(visit, users))
    town.until(lambda: town.counted("beset", 2 * len(users)))
    found = town.looks("beset")[-1]["body"]
    # But for `hostile_share` it would have been promoted.
    assert 0 < found["difference"] - found["half_width"] < found["line"] == pytest.approx(0.04)
    assert found["control"]["users"] == found["canary"]["users"] == 250
    assert town.model("beset")["canary"] == 1
    town.pass_time(hours=2)
    town.until(lambda: town.verdicts("beset")[-1] == "inconclusive")
    assert town.model("beset")["champion"] == 0


def test_a_promotion_that_turns_bad_is_undone_from_its_holdback(town: Town) -> None:
    town.plant("spoilt", "right")
    users = town.people("spoilt", USERS_AN_ARM)
    town.crowd("spoilt", users)
    town.until(lambda: "switched" in town.verdicts("spoilt"))
    town.skills["spoilt"] = "wrong"
    town.crowd("spoilt", users)
    town.until(lambda: town.verdicts("spoilt")[-2:] == ["rolled_back", "switched"])
    assert town.decision("spoilt", "rolled_back")["trigger"] == "holdback"
    route = town.model("spoilt")
    assert (route["champion"], route["holdback"]) == (0, None)
    town.until(lambda: town.crowd("spoilt", users[:10], rated=0) == [{0}] * 10)


def test_the_ledger_of_all_that_is_whole(town: Town) -> None:
    assert verify_store(town.control.store).ok
