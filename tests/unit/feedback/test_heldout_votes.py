"""Facts about held-out votes: only users of the bucket, only pairs that can be compared, no vote from training."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from core.db import heldout_votes
from core.db.store import Store
from core.prompts import Chat
from core.record_codec import encode
from core.records import Feedback, Interaction
from core.settings import ModelSettings
from core.spool import frame
from feedback.duplicates import clusters as near_duplicates
from feedback.heldout_votes import Bucket, Thumb, thumbs
from feedback.ingest import ingest
from feedback.snapshot import Row
from feedback.split import bucket_of
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
MODEL = ModelSettings.model_validate({"task": "generate"})
ASKED = Chat((("user", "How are you?"),))


def user_in(bucket: str, number: int = 0) -> str:
    found = [f"u{k}" for k in range(1000) if bucket_of(f"user:u{k}", train=0.6, dev=0.1) == bucket]
    return found[number]


HELD, OTHER_HELD, TRAIN = user_in("h1"), user_in("h1", 1), user_in("train")


def request(text: str = "How are you?") -> str:
    return json.dumps({"messages": [{"role": "user", "content": text}]})


def thumb(up: bool, **changes: Any) -> dict[str, Any]:
    return {
        "app": "",
        "revoked": False,
        "whole": True,
        "value": json.dumps(up),
        "voter": HELD,
        "interaction_id": "a",
        "user_id": HELD,
        "endpoint": "chat",
        "request": request(),
        "answer": "Well.",
    } | changes


def answered(identity: str, model: str, answer: str) -> Interaction:
    return interaction(identity, time=NOW, model=model, user=HELD, answer=answer, request=json.loads(request()))


def bucket(*learnt: str) -> Bucket:
    rows = [Row("i", "f", "user:t", "train", Chat((("user", text),)), "x") for text in learnt]
    return Bucket("h1", MODEL, rows, flagged=frozenset({"flagged"}), clusters=near)


def near(_: pa.Array, prompts: list[str]) -> np.ndarray:
    return near_duplicates(prompts)


def test_a_vote_on_a_text_from_training_is_left_out() -> None:
    assert thumbs([thumb(True)], bucket("how  ARE you?")) == ([], {"same text as one to learn from": 1})


def test_a_vote_on_nearly_a_text_from_training_is_left_out() -> None:
    learnt, asked = bucket("Classify: The hinge broke in a week."), request("The hinge broke in a week!")
    assert thumbs([thumb(True, request=asked)], learnt) == ([], {"same text as one to learn from": 1})
    assert len(thumbs([thumb(True, request=request("Where is the parcel?"))], learnt)[0]) == 1


def test_a_prompt_that_was_learnt_with_tags_does_not_judge() -> None:
    learnt, asked = bucket("call [PHONE] or ask [EMAIL]"), request("call +49 30 1234567 or ask zoe@example.com")
    assert thumbs([thumb(True, request=asked)], learnt) == ([], {"same text as one to learn from": 1})


def test_thumbs_on_flagged_answers_and_on_cut_off_ones_do_not_judge() -> None:
    assert thumbs([thumb(True, interaction_id="flagged")], bucket())[1] == {
        "the answer is flagged unsafe or private": 1
    }
    assert thumbs([thumb(True, whole=False)], bucket())[1] == {"an answer that failed or was cut off": 1}


def test_taking_a_later_thumb_back_does_not_bring_the_earlier_one_back() -> None:
    assert thumbs([thumb(True), thumb(False, revoked=True)], bucket()) == ([], {"taken back": 1})
    assert len(thumbs([thumb(True, revoked=True), thumb(False)], bucket())[0]) == 1


def test_an_unknown_side_is_the_other_one_and_nobody_judges() -> None:
    found, _ = thumbs([thumb(True, voter="")], bucket())
    assert [one.user for one in found] == [f"user:{HELD}"]
    assert thumbs([thumb(True, voter=None, user_id=None)], bucket()) == ([], {"voter and asker are unknown": 1})


def test_reviewers_judge_only_where_the_settings_say_so() -> None:
    vote = thumb(True, voter="reviewer:k")
    assert thumbs([vote], bucket()) == ([], {"a reviewer's vote": 1})
    trust = MODEL.trust.model_copy(update={"reviewers_judge": True})
    found, _ = thumbs([vote], Bucket("h1", MODEL.model_copy(update={"trust": trust}), [], clusters=near))
    assert [one.user for one in found] == ["user:reviewer:k"]


def test_two_keys_with_one_users_name_are_two_voters() -> None:
    found, _ = thumbs([thumb(True, app="a"), thumb(False, app="b")], bucket())
    assert [one.up for one in found] == [True, False]


def test_thumbs_of_held_out_users_count_once_with_the_answer_they_are_about() -> None:
    votes = [
        thumb(True),
        thumb(False),
        thumb(True, voter=TRAIN),
        thumb(True, interaction_id="b", answer=None),
    ]
    found, left_out = thumbs(votes, bucket())
    assert found == [Thumb(f"user:{HELD}", ASKED, "Well.", up=False)]
    assert left_out == {"another bucket": 1, "prompt or answer is not kept, or not text alone": 1}


def test_the_store_names_the_answers_that_their_asker_or_enough_voters_flagged() -> None:
    store = Store(":memory:")
    data = b"".join(frame(encode(answered(f"i{n}", "m", "Well."))) for n in range(3))
    flags = [("i0", HELD, "private"), ("i1", TRAIN, "unsafe"), ("i1", OTHER_HELD, "unsafe"), ("i2", HELD, "other")]
    for n, (about, user, value) in enumerate(flags):
        data += frame(encode(Feedback(f"f{n}", NOW, about, None, "flag", value, user=user)))
    ingest(store, "g", 1, 0, data)
    assert heldout_votes.flagged(store, model="m", flag_voters=2) == {"i0", "i1"}
    assert heldout_votes.flagged(store, model="m", flag_voters=3) == {"i0"}
    store.close()
