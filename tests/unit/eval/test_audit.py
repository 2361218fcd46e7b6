"""Facts about labels of random answers: what they say of live traffic, how rows are weighed, what the gate says."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.db import label_selection
from core.db.store import Store
from core.prompts import Chat
from core.records import Interaction
from core.settings import ModelSettings
from eval.gates.label_selection import check_selection
from eval.gates.offline import LEAST_ITEMS
from eval.gates.result import Outcome
from eval.kpis.approval import Approval
from eval.kpis.audit import NO_AUDIT, Audit, LabelledAnswers, audit_of
from eval.kpis.evidence import Evidence
from eval.kpis.label_selection import ASKED, DRAWN, REVIEWER, RIGHT, UNKNOWN, VOLUNTEERED, WRONG, LabelSelection
from eval.label_selection import selection_of
from eval.ledger_evidence import plain_selection
from feedback.ingest import ingest
from feedback.snapshot import Row
from tests.support.ingest import asked, pieces, said

NONE = LabelledAnswers()
SETTINGS = ModelSettings(task="classify", labels=["bad", "good"])
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
KNOWN = Audit(Approval(0.7, 0.02, 300), marked=600, answered=300)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def labelled(answers: int, right: int, wrong: int) -> LabelledAnswers:
    """Answers of one user each."""
    return LabelledAnswers.of_single(answers, right + wrong, right)


def holdout(origins: list[int], served: list[int], audit: Audit = KNOWN, thumbs: Approval = NO_AUDIT.approval):
    return LabelSelection(np.array(served), thumbs, audit, np.array(origins))


def reason_of(found: LabelSelection) -> tuple[Outcome, str]:
    evidence = Evidence(100, 100, {}, {}, {}, "h1", 1, selection=found)
    (check,) = check_selection(evidence, LEAST_ITEMS)
    return check.outcome, check.reason


def test_without_volunteers_the_labels_are_what_they_are():
    found = audit_of(labelled(400, 140, 60), labelled(7600, 0, 1), NONE)
    assert found.approval.share == pytest.approx(0.7, abs=0.001)
    assert (found.labels, found.marked, found.is_known) == (200, 400, True)
    assert found.factors == pytest.approx((1, 1), abs=0.01)


def test_labels_that_nobody_had_to_ask_for_are_taken_out():
    """Of right answers 2% have a volunteered label, of wrong ones 30%. Of the others half answer when asked."""
    right, wrong = 0.02 + 0.98 * 0.5, 0.3 + 0.7 * 0.5
    asked_about = labelled(10_000, round(7_000 * right), round(3_000 * wrong))
    others = labelled(100_000, round(70_000 * 0.02), round(30_000 * 0.3))
    found = audit_of(asked_about, others, NONE)
    assert asked_about.approval.share < 0.66
    assert found.approval.share == pytest.approx(0.7, abs=0.001)
    assert found.approval.error > asked_about.approval.error
    # An asked row of a wrong answer counts for less, so that asked rows have the live shares too.
    less, more = found.factors
    assert (more * right * 0.7) / (more * right * 0.7 + less * wrong * 0.3) == pytest.approx(0.7, abs=0.001)


def test_marks_that_make_no_difference_are_not_believed():
    """An app that does not ask: marked answers have volunteered labels only."""
    found = audit_of(labelled(1_000, 14, 90), labelled(19_000, 270, 1_700), NONE)
    assert found.ignored and not found.is_known and found.labels == 0
    selection = holdout([VOLUNTEERED] * 40, [RIGHT] * 20 + [WRONG] * 20, found, Approval(0.6, 0.02, 500))
    outcome, reason = reason_of(selection)
    assert selection.live.share == 0.6 and outcome is Outcome.PASS
    assert "1000 answers were marked, and users label them hardly more often than others" in reason


def test_many_volunteers_do_not_make_an_audit_ignored():
    """35% of the users label unasked, 60% of these labels are of right answers. When asked, 95% have a label."""
    found = audit_of(labelled(1_000, 690, 260), labelled(1_000, 210, 140), NONE)
    assert not found.ignored and found.is_known
    # (0.69 - 0.21) / (0.95 - 0.35) = 0.8 of those who are no volunteers, and 0.21 of all.
    assert found.approval.share == pytest.approx(0.21 + 0.65 * 0.8)


def test_an_audit_that_a_tenth_of_the_users_answers_counts():
    """Volunteers label 4%. A ratio of the rates of 3 discards a tenth of these audits by chance."""
    rng = np.random.default_rng(3)
    audits = [
        audit_of(labelled(600, int(right), int(wrong)), labelled(11_400, 320, 136), NONE)
        for right, wrong in rng.binomial(600, (0.095, 0.041), (500, 2))
    ]
    assert np.mean([one.ignored for one in audits]) < 0.01


@pytest.mark.parametrize(("marked", "is_said"), [(3, False), (599, False), (600, True)])
def test_the_app_is_reminded_once_enough_answers_are_marked(marked: int, is_said: bool):
    found = audit_of(labelled(marked, 0, 0), labelled(19 * marked, 1, 1), NONE)
    assert found.ignored
    _, reason = reason_of(holdout([VOLUNTEERED] * 40, [RIGHT] * 20 + [WRONG] * 20, found, Approval(0.6, 0.02, 500)))
    assert ("The app must ask" in reason) is is_said


def test_reviewers_labels_count_by_their_number():
    drawn = labelled(100, 80, 20)
    alone = audit_of(NONE, labelled(5_000, 20, 200), drawn)
    assert (alone.approval.share, alone.labels, alone.is_known) == (0.8, 100, True)
    both = audit_of(labelled(600, 180, 120), labelled(9_000, 0, 0), drawn)
    assert both.approval.share == pytest.approx((300 * 0.6 + 100 * 0.8) / 400)
    assert both.labels == 400 and both.approval.error < 0.026


def test_labels_on_answers_of_few_users_are_no_audit():
    few = replace(labelled(200, 70, 30), voters=19)
    found = audit_of(few, labelled(4_000, 0, 0), NONE)
    assert not found.is_known
    _, reason = reason_of(holdout([VOLUNTEERED] * 40, [RIGHT] * 40, found, Approval(0.7, 0.02, 500)))
    assert "100 labels of random answers are too few: the audit needs 30, on answers of 20 users." in reason


def test_random_rows_keep_their_weight_and_chosen_ones_get_the_live_shares():
    found = holdout(
        [ASKED] * 4 + [DRAWN] * 2 + [VOLUNTEERED] * 40 + [REVIEWER] * 10,
        [RIGHT, RIGHT, WRONG, UNKNOWN] + [RIGHT, WRONG] + [RIGHT] * 10 + [WRONG] * 30 + [WRONG] * 10,
        replace(KNOWN, factors=(0.8, 1.1)),
    )
    weights = found.point_weights[0]
    assert weights[:6].tolist() == pytest.approx([1.1, 1.1, 0.8, 1, 1, 1])
    # What a reviewer chose is no random row.
    assert weights[6:16].sum() == pytest.approx(0.7 * 50) and weights[16:].sum() == pytest.approx(0.3 * 50)
    assert [found.count(one) for one in (VOLUNTEERED, ASKED, DRAWN, REVIEWER)] == [40, 4, 2, 10]


def test_volunteered_labels_of_wrong_answers_alone_count_for_nothing_beside_random_rows():
    found = holdout([ASKED] * 60 + [VOLUNTEERED] * 90, [RIGHT] * 42 + [WRONG] * 18 + [WRONG] * 90)
    assert found.point_weights[0][60:].sum() == 0
    assert found.effective == pytest.approx(60)


def test_without_an_audit_marked_rows_are_weighed_like_others():
    found = holdout([ASKED] * 10 + [VOLUNTEERED] * 10, [WRONG] * 10 + [RIGHT] * 10, NO_AUDIT, Approval(0.8, 0.0, 100))
    assert found.point_weights[0][:10].sum() == pytest.approx(0.2 * 20)


def test_the_check_names_its_source_and_says_where_thumbs_disagree():
    rows = [VOLUNTEERED] * 60, [RIGHT] * 30 + [WRONG] * 30
    outcome, reason = reason_of(holdout(*rows, thumbs=Approval(0.4, 0.02, 500)))
    assert outcome is Outcome.PASS
    assert "live, 70% of answers are right (66% to 74%, 300 labels on 600 marked answers)" in reason
    assert "Thumbs say 40% (36% to 44%), which chance does not explain" in reason
    _, alike = reason_of(holdout(*rows, thumbs=Approval(0.68, 0.02, 500)))
    assert "Thumbs" not in alike
    _, drawn = reason_of(holdout(*rows, Audit(Approval(0.7, 0.04, 60), drawn=60)))
    assert "60 labels of reviewers on random answers" in drawn


def chat(number: int, is_asked: bool, right: bool) -> Interaction:
    answer = "\tGood\n" if right else "bad"
    return replace(asked(f"i{number}", user=f"u{number}", answer=answer, asked=is_asked), time=AT)


def test_the_store_says_why_each_label_was_given(store: Store):
    records = []
    for number in range(400):
        is_asked, right = number < 100, number % 4 > 0
        records.append(chat(number, is_asked, right))
        # Every marked answer has a label. Of the others only some wrong ones have one.
        if is_asked or (not right and number % 8 == 0):
            label = replace(said(f"l{number}", f"i{number}", "good", "label"), user=f"u{number}", time=AT)
            records.append(label)
    console = {"source": "console", "drawn": "random"}
    reviews = [
        replace(said(f"r{n}", f"i{n}", "GOOD", "label"), user="reviewer:ann", time=AT, metadata=console)
        for n in range(200, 240)
    ]
    chosen = replace(said("c", "i301", "bad", "label"), user="reviewer:ann", time=AT, metadata={"source": "console"})
    forged = replace(said("x", "i302", "bad", "label"), user="u302", time=AT, metadata={"drawn": "random"})
    pinned = replace(chat(900, True, False), arm="pinned")
    ingest(store, "g", 0, 0, pieces(*records, *reviews, chosen, forged, pinned))
    ids = [("i1", "l1"), ("i104", "l104"), ("i200", "r200"), ("i301", "c"), ("i302", "x")]
    time = AT.replace(tzinfo=None).isoformat()
    rows = [Row(i, f, "u", "h1", Chat((("user", "t"),)), "good", time=time) for i, f in ids]
    found = selection_of(store, "m", rows, SETTINGS)
    assert found is not None and found.origins is not None
    assert found.origins.tolist() == [ASKED, VOLUNTEERED, DRAWN, REVIEWER, VOLUNTEERED]
    audit = found.audit
    assert (audit.marked, audit.answered, audit.drawn, audit.ignored) == (100, 100, 40, False)
    # 75 of 100 asked answers are right, and 30 of 40 drawn ones.
    assert audit.approval.share == pytest.approx(0.75) and audit.approval.voters == 140
    plain = plain_selection(found)
    assert plain["source"] == "audit" and plain["audit"]["right"] == pytest.approx(0.75)
    assert plain["origins"] == {"volunteered": 2, "asked": 1, "drawn": 1, "reviewer": 1}


def test_answers_from_before_the_first_mark_and_after_the_last_are_not_compared_with_marked_ones(store: Store):
    """Before the audit 60% of answers were right, and users labelled a third. Now 80% are right: few volunteer."""
    records = []
    for number in range(1200):
        is_marking, day = 600 <= number < 1000, number // 20
        is_asked = is_marking and number % 4 == 0
        answer = chat(number, is_asked, True)
        right = number // 4 % 5 < 3 + is_marking
        answer = replace(answer, time=AT + timedelta(days=day), answer="good" if right else "bad")
        records.append(answer)
        volunteers = number % 20 == 1 if is_marking else number % 3 == 0
        if volunteers or (is_asked and number % 8 == 0):
            records.append(replace(said(f"l{number}", f"i{number}", "good", "label"), user=f"u{number}", time=AT))
    ingest(store, "g", 0, 0, pieces(*records))
    # Records of a release without marks have none.
    with store.transaction() as transaction:
        transaction._connection.execute("UPDATE interactions SET asked = NULL WHERE time < '2026-05-10'")
    until = AT + timedelta(days=90)
    parts = label_selection.audit(store, model="m", since=AT, until=until, most=100.0, labels=["bad", "good"])
    assert [(parts[part]["answers"], parts[part]["labels"]) for part in ("asked", "other")] == [(100, 50), (300, 20)]
    row = Row("i0", "l0", "u", "h1", Chat((("user", "t"),)), "good", time=AT.replace(tzinfo=None).isoformat())
    last = replace(row, time=until.replace(tzinfo=None).isoformat())
    found = selection_of(store, "m", [row, last], SETTINGS)
    assert found is not None and not found.audit.ignored
    assert found.audit.approval.share == pytest.approx(0.8, abs=0.02)


def audit_with_one_busy_user(store: Store, answers: int, right: float) -> Audit:
    """2,000 marked answers and as many others. One user has `answers` of each and labels all of his.

    Of the others' answers 80% are right. They label 60% of the marked ones and no others.
    """
    records = []
    for number in range(2000):
        for is_asked in (True, False):
            busy = number < answers
            is_right = number % 10 < 10 * right if busy else number % 5 > 0
            identity, user = f"{number}{is_asked}", "busy" if busy else f"u{number}"
            records.append(replace(chat(number, is_asked, is_right), id=identity, user=user))
            if busy or (is_asked and number // 10 % 5 < 3):
                records.append(replace(said(f"l{identity}", identity, "good", "label"), user=user, time=AT))
    ingest(store, "g", 0, 0, pieces(*records))
    row = Row("0True", "l0True", "busy", "h1", Chat((("user", "t"),)), "good", time=AT.replace(tzinfo=None).isoformat())
    found = selection_of(store, "m", [row], SETTINGS)
    assert found is not None
    return found.audit


def test_a_user_counts_for_as_many_answers_as_labels(store: Store):
    """The busy user has 800 labels and counts for 100: 50 marked answers of 1,650, half of them right."""
    found = audit_with_one_busy_user(store, 400, 0.5)
    assert found.approval.share == pytest.approx((1600 * 0.8 + 50 * 0.5) / 1650, abs=0.003)
    assert (found.marked, found.answered) == (2000, 400 + 960)


def test_one_hostile_user_moves_the_audit_by_few_points(store: Store):
    """He has half of all answers and says that all are wrong. Without a limit it would be 40% instead of 80%."""
    found = audit_with_one_busy_user(store, 1000, 0.0)
    assert found.approval.share == pytest.approx((1000 * 0.8) / 1050, abs=0.003)


def test_the_asker_has_the_word_on_an_answer_and_a_taken_back_label_has_none(store: Store):
    other = replace(said("o", "i0", "bad", "label"), user="someone", time=AT.replace(hour=13))
    own = replace(said("a", "i0", "good", "label"), user="u0", time=AT)
    ingest(store, "g", 0, 0, pieces(chat(0, True, True), own, other))
    row = Row("i0", "a", "u", "h1", Chat((("user", "t"),)), "good", time=AT.replace(tzinfo=None).isoformat())

    def answered() -> tuple[int, int]:
        found = selection_of(store, "m", [row], SETTINGS)
        assert found is not None
        return found.audit.marked, found.audit.answered

    assert answered() == (1, 1)
    with store.transaction() as transaction:
        transaction._connection.execute("UPDATE feedback SET revoked_at = now()::TIMESTAMP")
    assert answered() == (1, 0)
