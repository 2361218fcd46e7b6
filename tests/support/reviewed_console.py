"""A console whose answers have several reviewers."""

from pathlib import Path
from typing import Any

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.records import Feedback
from core.settings import build
from feedback.ingest import add
from feedback.snapshot import curate_store
from ops.console import labelling
from tests.support import ingest
from tests.support.console_security import KeyedConsole
from tests.support.curation import user_in

REVIEWERS = ("ada", "bob", "cleo")


class ReviewedConsole(KeyedConsole):
    """Two reviewers label each answer. Five answers are there, the first of them in doubt."""

    def __init__(self, data: Path, reviewers: int = 2) -> None:
        model = {"labels": ["good", "bad"], "feedback": {"reviewers": reviewers}}
        super().__init__(data, build({"data": str(data), "models": {"reviews": model}}))
        for name in REVIEWERS:
            self.made[name] = self.control.keyring.make(NewKey(name, (Scope.OPS_READ, Scope.OPS_WRITE)), "test")
        request = {"messages": [{"role": "user", "content": "a question"}]}
        asked = [
            ingest.asked(
                f"i{n}",
                time=self.clock(),
                model="reviews",
                user=user_in("train", n),
                answer="good",
                request={"messages": [{"role": "user", "content": f"{request} {n}"}]},
            )
            for n in range(5)
        ]
        add(self.control.store, [*asked, Feedback("f0", self.clock(), "i0", None, "thumbs", False, None, "voter")])

    def id_of(self, name: str) -> str:
        return f"reviewer:{self.made[name].id}"

    def label(self, name: str, label: str, part: str = "doubt") -> str:
        """Label what the reviewer gets, and return the address after it."""
        self.log_in(name)
        answer = self.form(f"/feedback/queue?model=reviews&part={part}", label=label)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def doubtful(self, name: str) -> list[str]:
        return [row["interaction_id"] for row in labelling.in_doubt(self.control, "reviews", self.id_of(name))]

    def drawn(self, name: str) -> list[str]:
        rows = labelling._drawn(self.control, "reviews", ["good", "bad"], self.id_of(name))
        return [row["interaction_id"] for row in rows]

    def agreement(self) -> dict[str, Any]:
        return self.browser.get("/feedback/agreement.json?model=reviews").json()

    def rows(self) -> list[tuple[str, str]]:
        """Answer and label of the rows that training would use."""
        found = curate_store(self.control.store, "reviews", self.control.settings.models["reviews"])
        return [(row["interaction_id"], row["label"]) for row in found.rows.to_pylist()]
