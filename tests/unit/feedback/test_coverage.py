"""Facts about coverage: clusters of requests by name, those without rows, and what is in no name."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from core.db import interactions, snapshots
from core.db.store import Store
from core.records import Feedback, Interaction
from core.settings import ModelSettings
from core.settings.privacy import PrivacySettings
from feedback.coverage import OTHER, Cluster, Coverage, find_clusters
from feedback.erasure import Request, begin, erase_rows, report_without
from feedback.ingest import add
from feedback.snapshot import Report, Snapshot, create_snapshot, read_table
from feedback.snapshot_files import Tables
from feedback.traffic_sample import add_coverage, measure_coverage
from tests.support.ingest import asked as interaction
from tests.support.pipeline import NOW

TOPICS = {
    "delivery": "parcel courier late delivery tracking doorstep warehouse",
    "refund": "refund money invoice charged card bank statement",
    "login": "password login account locked reset email browser",
}
RULES = PrivacySettings().rules
ASK = "Please answer this question of a customer: "


def question(topic: str, n: int) -> str:
    drawn = random.Random(f"{topic} {n}")
    return ASK + " ".join(drawn.sample(TOPICS[topic].split(), 4)) + f" {drawn.randrange(10**9)}"


def questions(topic: str, count: int) -> list[str]:
    return [question(topic, n) for n in range(count)]


def shares(clusters: tuple[Cluster, ...]) -> dict[str, tuple[int, int]]:
    """(requests, rows) of each topic, by a word of the cluster's name."""
    found: dict[str, tuple[int, int]] = dict.fromkeys(TOPICS, (0, 0))
    for cluster in clusters:
        word = cluster.name.split(", ")[0]
        topic = next(topic for topic, words in TOPICS.items() if word in words.split())
        found[topic] = (found[topic][0] + cluster.requests, found[topic][1] + cluster.rows)
    return found


def test_a_topic_without_rows_is_named_by_its_words():
    asked = questions("delivery", 60) + questions("refund", 40) + questions("login", 20)
    users = [f"u{n % 30}" for n in range(len(asked))]
    rows = questions("delivery", 30) + questions("refund", 10)
    clusters = find_clusters(asked, users, rows)
    assert shares(clusters) == {"delivery": (60, 30), "refund": (40, 10), "login": (20, 0)}
    assert all(cluster.rows == 0 for cluster in clusters[:1]) and clusters[0].users <= 20
    assert find_clusters(asked, users, rows) == clusters
    assert not any(word in cluster.name for cluster in clusters for word in ("please", "customer"))


def test_no_name_has_a_word_of_fewer_than_five_users_or_a_number():
    asked = [f"{text} jonasmeier tel 0171555" for text in questions("delivery", 60)]
    few = find_clusters(asked, [f"u{n % 4}" for n in range(60)], [])
    assert few == ()
    asked = questions("delivery", 60) + ["jonasmeier jonasmeier 0171555"] * 20
    clusters = find_clusters(asked, [f"u{n}" for n in range(60)] + ["jonas"] * 20, [])
    assert not any("jonas" in cluster.name or "0171" in cluster.name for cluster in clusters)
    (other,) = [cluster for cluster in clusters if cluster.name == OTHER]
    assert (other.requests, other.users) == (20, 1)


def test_few_requests_or_equal_ones_make_no_error():
    assert find_clusters(questions("login", 49), [None] * 49, []) == ()
    assert find_clusters([""] * 60, [None] * 60, ["x"]) == ()
    half = ["parcel late"] * 30 + ["refund money"] * 30
    clusters = find_clusters(half, [f"u{n}" for n in range(60)], ["parcel late", "", "zzz"])
    assert sorted((c.requests, c.users, c.rows) for c in clusters) == [(30, 30, 0), (30, 30, 1)]


def test_requests_without_a_user_are_of_one_user():
    asked = questions("delivery", 60) + ["kowalczyk melanoma diagnosed"] * 20
    users = [f"u{n}" for n in range(60)] + [None] * 20
    (other,) = [cluster for cluster in find_clusters(asked, users, []) if cluster.name == OTHER]
    assert (other.requests, other.users) == (20, 1)
    assert find_clusters(asked, [None] * 80, []) == ()


def covered(*clusters: tuple[int, int], rows: int = 100) -> Coverage:
    made = tuple(Cluster(f"c{n}", requests, 9, found) for n, (requests, found) in enumerate(clusters))
    return Coverage(30, 5000, sum(requests for requests, _ in clusters), rows, made)


def test_a_report_warns_if_many_requests_have_no_row_that_chance_explains_badly():
    assert covered((900, 90), (100, 10)).warning() is None
    assert covered((960, 100), (40, 0)).warning() is None
    assert covered((900, 40), (100, 0), rows=40).warning() is None  # 4 rows expected: none is not odd
    assert covered((900, 100), (100, 0)).warning() == (
        "10% of the requests of the last 30 days are in clusters without a training row (1 of 2 clusters). "
        "The table Coverage has their names."
    )
    assert covered().warning() is None


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.close()


def request(topic: str, n: int, **changes: object) -> Interaction:
    body = {"messages": [{"role": "user", "content": question(topic, n)}]}
    made = interaction(f"{topic}-{n}", time=NOW, model="reviews", user=f"u{n}", request=body)
    return replace(made, **changes)  # type: ignore[arg-type]


def fill(store: Store, folder: Path) -> Snapshot:
    """60 requests on delivery with labels, 60 on logins without, and others that do not count."""
    add(store, [request(topic, n) for topic in ("delivery", "login") for n in range(60)])
    add(store, [request("refund", n, time=NOW - timedelta(days=31)) for n in range(60)])
    add(store, [request("refund", n, id=f"r{n}", model="other") for n in range(60)])
    add(store, [request("refund", n, id=f"s{n}", request=None) for n in range(60)])
    add(store, [request("refund", n, id=f"t{n}", status=500) for n in range(60)])
    votes = [Feedback(f"f{n}", NOW, f"delivery-{n}", None, "label", "ab"[n % 2]) for n in range(60)]
    add(store, votes)
    settings = ModelSettings(labels=["a", "b"])
    return create_snapshot(store, "reviews", settings, run_id="r1", folder=folder, clock=lambda: NOW)


def test_the_report_of_the_run_has_the_coverage_of_recent_requests(store: Store, tmp_path: Path):
    made = fill(store, tmp_path)
    found = add_coverage(store, made, "reviews", RULES, "r1", NOW)
    coverage = found.report.coverage
    assert (coverage["days"], coverage["all_requests"], coverage["requests"]) == (30, 180, 120)
    assert coverage["rows"] == len(made.of("train")) > 20
    without = [one for one in coverage["clusters"] if not one["rows"]]
    assert sum(one["requests"] for one in without) >= 55 and coverage["clusters"][0]["rows"] == 0
    assert found.report.warnings[-1].startswith("50% of the requests")
    stored = snapshots.find(store, hash=made.hash, run_id="r1")
    assert stored is not None and '"coverage": {"days": 30' in stored.report


def test_a_question_that_follows_each_document_is_read_with_its_document(store: Store, tmp_path: Path):
    def about(topic: str, n: int) -> Interaction:
        messages = [{"role": "user", "content": text} for text in (question(topic, n), "Which department is it?")]
        return request(topic, n, request={"messages": messages})

    add(store, [about(topic, n) for topic in TOPICS for n in range(40)])
    settings = ModelSettings(labels=["a", "b"])
    made = create_snapshot(store, "reviews", settings, run_id="r1", folder=tmp_path, clock=lambda: NOW)
    found = measure_coverage(store, made, "reviews", RULES, NOW)
    assert found.requests == 120 and {requests for requests, _ in shares(found.clusters).values()} == {40}


def test_an_erasure_takes_the_coverage_out_of_the_report(store: Store, tmp_path: Path):
    made = fill(store, tmp_path)
    report = {"left_out": {}, "pairs": {}, "coverage": {"clusters": ["x"]}}
    rows = read_table(made.path)
    assert report_without(report, Tables(rows.slice(0, 1), None), Tables(rows.slice(1), None))["coverage"] == {}


def test_a_sample_is_the_same_each_time_and_within_its_size(store: Store, tmp_path: Path):
    fill(store, tmp_path)
    first, again = (interactions.sample(store, model="reviews", since=NOW, size=20) for _ in range(2))
    assert first == again and len(first) == 20


def test_a_conversation_without_a_user_is_one_user_and_requests_are_scrubbed(store: Store, tmp_path: Path):
    made = fill(store, tmp_path)
    body = {"messages": [{"role": "user", "content": "Kowalczyk was diagnosed with melanoma."}]}
    turns = [request("login", n, id=f"x{n}", user="", conversation="talk", request=body) for n in range(8)]
    address = {"messages": [{"role": "user", "content": "Write to anna.zielinska@example.com please."}]}
    add(store, [*turns, *(request("login", n, id=f"y{n}", request=address) for n in range(20))])
    assert interactions.sample(store, model="reviews", since=NOW, size=500)["x0"] == "talk"
    found = measure_coverage(store, made, "reviews", RULES, NOW)
    names = " ".join(cluster.name for cluster in found.clusters)
    assert "write" in names and not any(word in names for word in ("kowalczyk", "melanoma", "zielinska", "example"))


def test_an_erasure_of_a_user_without_votes_takes_the_coverage_out_of_reports(store: Store, tmp_path: Path):
    made = fill(store, tmp_path)
    add(store, [request("login", 0, id="late", user="ada")])
    add_coverage(store, made, "reviews", RULES, "r1", NOW)

    def erase(user: str) -> None:
        erase_rows(store, begin(store, Request(user), NOW), user, None, NOW)

    def report() -> Report:
        stored = snapshots.find(store, hash=made.hash, run_id="r1")
        assert stored is not None
        return Report(**json.loads(stored.report))

    before = report()
    assert before.coverage["clusters"]
    add(store, [request("login", 0, id="elsewhere", user="bob", model="other")])
    erase("bob")
    assert report() == before
    erase("ada")
    assert report() == replace(before, coverage={})


def test_topics_of_hindi_have_names_of_whole_words():
    texts = ["मेरा पार्सल कहाँ"] * 40 + ["पैसा वापस चाहिए"] * 40
    found = find_clusters(texts, [f"u{n}" for n in range(80)], [])
    assert {word for one in found for word in one.name.split(", ")} <= set(" ".join(texts).split())
    assert len(found) == 2
