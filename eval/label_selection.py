"""Read how the labels of a holdout were chosen: which served answers were right, and the approval of live ones."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from core.answers import text_of_choice
from core.db import interactions, label_selection
from core.db.store import Store
from core.names import label_key
from core.settings import ModelSettings
from eval.kpis.label_selection import RIGHT, UNKNOWN, WRONG, Approval, LabelSelection, approval_of
from feedback.curation import most_of
from feedback.snapshot import Row

NOBODY = Approval(float("nan"), float("nan"), 0)


def selection_of(store: Store, model: str, rows: Sequence[Row], settings: ModelSettings) -> LabelSelection | None:
    """How the labels were chosen. None for a model that does not answer with labels.

    Thumbs count from the first to the last of the labels. An answer that is none of the model's labels, failed, or is
    not kept, is neither right nor wrong.
    """
    if settings.task != "classify" or not rows:
        return None
    answers = interactions.find_all(store, ids=[row.interaction_id for row in rows])
    chosen = label_selection.choices(store, ids=[row.feedback_id for row in rows])
    known = {label_key(label) for label in settings.labels}
    served = np.full(len(rows), UNKNOWN, dtype=np.int64)
    for place, row in enumerate(rows):
        found = answers.get(row.interaction_id)
        if found is None or found["status"] != 200:
            continue
        text = text_of_choice(found["answer"], found["choices"], chosen.get(row.feedback_id))
        if text is not None and label_key(text) in known:
            served[place] = RIGHT if label_key(text) == label_key(row.label) else WRONG
    return LabelSelection(served, _approval(store, model, rows, settings))


def _approval(store: Store, model: str, rows: Sequence[Row], settings: ModelSettings) -> Approval:
    # The times of a snapshot's rows are in UTC and have no zone.
    times = [datetime.fromisoformat(row.time).replace(tzinfo=UTC) for row in rows if row.time]
    if not times:
        return NOBODY
    most = float(most_of(settings.trust.rows_per_voter))
    return approval_of(**label_selection.thumbs(store, model=model, since=min(times), until=max(times), most=most))
