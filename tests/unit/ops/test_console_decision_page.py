"""Facts about the console's page of one decision, for every verdict."""

import re

import pytest

from core.db import routes, runs
from core.settings import build
from ops.console import decision_page
from ops.verdict_words import VERDICT_WORDS
from rollout.live_plan import create_plan
from tests.support.console import ARMS, LINEAGE, NOW, SWITCHED, Console, full_evidence, look_body, measures
from tests.support.large_decision import add_large_decision


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
    for html in (console.page("/promotions"), console.whole(f"/promotions/{identity}")):
        assert VERDICT_WORDS[verdict] in html and "It was so." in html
    html = console.whole(f"/promotions/{identity}")
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
    assert "Retrieval is enough: no gain." in console.whole("/promotions/dec-1")
    made = {"retrieval": {"k": 4, "entries": {"chat": 71}, "context_tokens": None}, "retrieval_sha256": "ef" * 32}
    without = {arm: measures(value) for arm, value in ARMS.items() if arm != "rag"}
    console.add_decision(
        "promoted", evidence=full_evidence() | {"candidate_is_rag": True, "arms": without}, lineage=made
    )
    html = console.whole("/promotions/dec-2")
    for part in ("Three arms", "base with retrieval", "Retrieval: entries", "chat 71"):
        assert part in html
    assert html.count("ef" * 32) == html.count("chat 71") == 1


def test_the_decision_page_leads_with_the_verdict_and_the_reason(console: Console) -> None:
    console.add_decision("kept", reason="macro_f1 −0.012 against the champion.", evidence=full_evidence())
    html = console.whole("/promotions/dec-1")
    assert html.index("Champion kept") < html.index("macro_f1 −0.012") < html.index("The gate")
    assert "v6 goes on serving" in html


def test_a_decision_leads_with_its_effect_interval_and_users(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence(), live=look_body(200, 0.05, 0.04))
    html = console.whole("/promotions/dec-1")
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
    html = console.whole("/promotions/dec-1")
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
    assert command in console.whole("/promotions/dec-1")


def test_a_withdrawn_canary_says_that_the_champion_went_on(console: Console) -> None:
    console.add_decision("rolled_back", trigger="canary")
    console.add_decision("rolled_back", trigger="person", from_version=7, to_version=6)
    html = console.page("/promotions")
    assert html.count("v6 goes on serving") == 1 and "v7 goes on serving" not in html


def test_a_decision_shows_the_f1_of_each_label(console: Console) -> None:
    by_arm = {"candidate": [0.8125, None, 0.75], "champion": [0.7, None, 0.6]}
    console.add_decision("promoted", evidence=full_evidence() | {"class_f1": by_arm})
    html = console.whole("/promotions/dec-1")
    rows = html.split("F1 by label</h2>")[1].split("</table>")[0]
    assert "neutral" in rows and "0.812" in rows and "–" in rows
    assert rows.index("candidate") < rows.index("champion")


def test_no_page_of_a_large_decision_has_more_than_100_kb(console: Console) -> None:
    path = f"/promotions/{add_large_decision(console)}"
    sizes = {tab: len(console.page(f"{path}?tab={tab}").encode()) for tab in decision_page.TABS}
    assert list(console.tabs(path)) == list(sizes)
    assert max(sizes.values()) <= 100_000, sizes
    # All tabs together, so that the shapes of pictures stay light too.
    assert len(console.whole(path).encode()) <= 140_000
    assert len(console.page("/promotions").encode()) <= 100_000


def test_evidence_is_in_tabs_of_which_only_the_chosen_one_is_made(console: Console) -> None:
    path = f"/promotions/{add_large_decision(console)}"
    found = console.tabs(path)
    words = {
        "summary": "Every check against its threshold",
        "kpis": "Arms with their intervals",
        "gate": "Each check against its threshold",
        "labels": "F1 by label",
        "slices": "Words of lost items",
        "regressions": "Worst regressions",
        "live": "Confidence sequence",
        "lineage": "What the candidate was made of",
    }
    for tab, html in found.items():
        assert [name for name, said in words.items() if said in html] == [tab]
    page = console.page(f"{path}?tab=slices")
    assert page.count('aria-current="page">Slices') == 1 and "KPIs by arm" in page[: page.index('<nav class="tabs"')]
    assert 'aria-current="page">Summary' in console.page(path)


def test_a_tab_without_content_is_not_offered_and_its_address_shows_the_first(console: Console) -> None:
    path = f"/promotions/{console.add_decision('switched', live=SWITCHED)}"
    assert list(console.tabs(path)) == ["live", "lineage"]
    assert "41.5 ms" in console.page(f"{path}?tab=slices")
    answer = console.client.get(f"{path}?tab=else")
    assert answer.status_code == 422 and "takes one of summary" in answer.text
    assert console.client.get(f"{path}.json").json()["tab"] == "live"


def test_the_summary_lists_the_checks_that_do_not_pass(console: Console) -> None:
    evidence = full_evidence()
    path = f"/promotions/{console.add_decision('kept', evidence=evidence)}"
    summary = console.tabs(path)["summary"]
    assert "guardrail p95_latency_ms" in summary and "floor accuracy" not in summary
    evidence["gate"] = evidence["gate"][:2]
    path = f"/promotions/{console.add_decision('promoted', evidence=evidence)}"
    assert "No check fails." in console.tabs(path)["summary"]


def test_the_plan_of_a_canary_is_in_plain_words(console: Console) -> None:
    settings = build({"models": {"m": {"labels": ["a", "b"]}}}).models["m"]
    assert settings.promotion.canary is not None
    plan = create_plan(settings.promotion.canary, 0.1, settings, None).plain()
    path = f"/promotions/{console.add_decision('canary_started', live={'plan': plan})}"
    text = " ".join(re.sub(r"<[^>]+>", " ", console.tabs(path)["live"]).split())
    for words in (
        "The candidate may lose at most 5.0 points of approval (the margin).",
        "10% of the compared users get the newer version.",
        "All looks together may be wrong with a probability of 0.05. The first look needs 100 users per arm.",
        "It takes at least 1 h 0 min, at most 1 d 0 h.",
        "Answers must be one of 2 labels.",
        "feedback rate not known",
    ):
        assert words in text, text
    assert "score_sd" not in text and "score sd" not in text
