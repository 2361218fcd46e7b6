"""Facts about the console's page of one decision, for every verdict."""

import pytest

from core.db import routes, runs
from ops.verdict_words import VERDICT_WORDS
from tests.support.console import ARMS, LINEAGE, NOW, SWITCHED, Console, full_evidence, look_body, measures


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.mark.parametrize("verdict", VERDICT_WORDS)
@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_every_verdict_has_a_page_with_and_without_evidence(console: Console, verdict: str, full: bool) -> None:
    live = SWITCHED if verdict == "switched" else look_body(200, 0.05, 0.04) if full else {}
    more = {"evidence": full_evidence(), "lineage": LINEAGE, "live": live, "run_id": "run-1"} if full else {}
    to_version = 7 if full else None
    console.look(1, look_body(4, 0.5, None))
    console.look(2, look_body(200, 0.05, 0.04), "pass")
    identity = console.add_decision(verdict, to_version=to_version, **more)
    for html in (console.page("/promotions"), console.page(f"/promotions/{identity}")):
        assert VERDICT_WORDS[verdict] in html and "It was so." in html
    html = console.page(f"/promotions/{identity}")
    for part in ("The gate", "Four arms", "Confidence sequence", "What the candidate was made of"):
        assert (part in html) is full


def test_a_decision_says_when_retrieval_would_do_and_what_a_retrieval_is_made_of(console: Console) -> None:
    enough = {
        "worth": {
            "retrieval_is_enough": True,
            "reason": "Retrieval is enough: no gain.",
            "saved_ms": None,
            "saved_tokens": None,
            "requests": None,
        }
    }
    console.add_decision("kept", evidence=full_evidence() | enough, lineage=LINEAGE)
    assert "Retrieval is enough: no gain." in console.page("/promotions/dec-1")
    made = {"retrieval": {"k": 4, "entries": {"chat": 71}, "context_tokens": None}, "retrieval_sha256": "ef" * 32}
    without = {arm: measures(value) for arm, value in ARMS.items() if arm != "rag"}
    console.add_decision(
        "promoted", evidence=full_evidence() | {"candidate_is_rag": True, "arms": without}, lineage=made
    )
    html = console.page("/promotions/dec-2")
    for part in ("Three arms", "base with retrieval", "Retrieval: entries", "chat 71"):
        assert part in html
    assert html.count("ef" * 32) == html.count("chat 71") == 1


def test_the_decision_page_leads_with_the_verdict_and_the_reason(console: Console) -> None:
    console.add_decision("kept", reason="macro_f1 −0.012 against the champion.", evidence=full_evidence())
    html = console.page("/promotions/dec-1")
    assert html.index("Champion kept") < html.index("macro_f1 −0.012") < html.index("The gate")
    assert "v6 goes on serving" in html


def test_a_decision_leads_with_its_effect_interval_and_users(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence(), live=look_body(200, 0.05, 0.04))
    html = console.page("/promotions/dec-1")
    banner = html[html.index('class="banner verdict good"') : html.index("</section>")]
    for words in ("+0.080", "+0.031 to +0.120", "330", "of 121 users", "+2.5 points", "± 2.0", "300"):
        assert f">{words}<" in banner, words
    plain = console.page(f"/promotions/{console.add_decision('skipped')}")
    assert 'class="banner verdict plain"' in plain and 'dl class="figures"' not in plain


def test_a_running_canarys_curve_is_on_the_page_of_its_model_and_renewed(console: Console) -> None:
    assert "so far" not in console.page("/models/reviews")
    began = {"started": NOW, "feedback_until": NOW}
    runs.add(console.store, id="run-1", model="reviews", trigger="t", state="canary", **began)
    route = {"champion": 6, "canary": 7, "share": 0.1, "previous": 5, "salt": "s", "decision_id": None, "holdback": 0.0}
    routes.add(console.store, model="reviews", rev=2, time=NOW, **route)
    console.look(1, look_body(200, 0.05, 0.04))
    html = console.page("/models/reviews")
    assert "The canary v7 so far" in html and 'hx-select="#canary"' in html
    page = console.page(f"/promotions/{console.add_decision('canary_started', run_id='run-1')}")
    assert 'hx-select="#live"' in page


def test_the_decision_page_gives_the_arms_their_latency_tokens_and_tfidf(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence())
    html = console.page("/promotions/dec-1")
    for words in ("latency p95, ms", "prompt tokens", "TF-IDF", "3 of 5 checks pass"):
        assert words in html


@pytest.mark.parametrize(
    ("verdict", "trigger", "command"),
    [
        ("promoted", "canary", "loraloop models rollback reviews --to 6"),
        ("rolled_back", "person", "loraloop models rollback reviews --to 6"),
        ("rolled_back", "canary", "loraloop models promote reviews 7"),
        ("kept", "schedule", "loraloop models promote reviews 7"),
        ("awaiting_approval", "canary", "loraloop promotions approve dec-1"),
    ],
)
def test_a_decision_says_which_command_undoes_it(console: Console, verdict: str, trigger: str, command: str) -> None:
    runs.add(
        console.store,
        id="run-1",
        model="reviews",
        trigger="t",
        state="awaiting_approval",
        started=NOW,
        feedback_until=NOW,
    )
    console.add_decision(verdict, trigger=trigger, run_id="run-1")
    assert command in console.page("/promotions/dec-1")


def test_a_withdrawn_canary_says_that_the_champion_went_on(console: Console) -> None:
    console.add_decision("rolled_back", trigger="canary")
    console.add_decision("rolled_back", trigger="person", from_version=7, to_version=6)
    html = console.page("/promotions")
    assert html.count("v6 goes on serving") == 1 and "v7 goes on serving" not in html


def test_a_decision_shows_the_f1_of_each_label(console: Console) -> None:
    by_arm = {"candidate": [0.8125, None, 0.75], "champion": [0.7, None, 0.6]}
    console.add_decision("promoted", evidence=full_evidence() | {"class_f1": by_arm})
    html = console.page("/promotions/dec-1")
    rows = html.split("F1 by label</h2>")[1].split("</table>")[0]
    assert "neutral" in rows and "0.812" in rows and "–" in rows
    assert rows.index("candidate") < rows.index("champion")
