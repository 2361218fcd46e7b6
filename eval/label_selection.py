"""Read how the labels of a holdout were chosen: why each was given, and how often live answers are right."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from core.answers import text_of_choice
from core.db import interactions, label_selection
from core.db.store import Store
from core.names import label_key
from core.settings import ModelSettings
from eval.kpis.approval import UNKNOWN_APPROVAL, approval_of
from eval.kpis.audit import NO_AUDIT, LabelledAnswers, audit_of
from eval.kpis.label_selection import ORIGINS, RIGHT, UNKNOWN, VOLUNTEERED, WRONG, LabelSelection
from feedback.curation import most_of
from feedback.label_origins import origin_of_row
from feedback.snapshot import Row


def selection_of(store: Store, model: str, rows: Sequence[Row], settings: ModelSettings) -> LabelSelection | None:
    """How the labels were chosen. None for a model that does not answer with labels.

    Thumbs and the audit count from the first to the last of the labels. An answer that is none of the model's labels,
    failed, or is not kept, is neither right nor wrong.
    """
    if settings.task != "classify" or not rows:
        return None
    answers = interactions.find_all(store, ids=[row.interaction_id for row in rows])
    labels = label_selection.labels(store, ids=[row.feedback_id for row in rows])
    known = {label_key(label) for label in settings.labels}
    served = np.full(len(rows), UNKNOWN, dtype=np.int64)
    origins = np.full(len(rows), VOLUNTEERED, dtype=np.int64)
    for place, row in enumerate(rows):
        found, label = answers.get(row.interaction_id), labels.get(row.feedback_id)
        if found is not None and label is not None:
            origins[place] = ORIGINS.index(origin_of_row(label["user_id"], label["metadata"], found["asked"]))
        if found is None or found["status"] != 200:
            continue
        text = text_of_choice(found["answer"], found["choices"], label["choice"] if label else None)
        if text is not None and label_key(text) in known:
            served[place] = RIGHT if label_key(text) == label_key(row.label) else WRONG
    # The times of a snapshot's rows are in UTC and have no zone.
    times = [datetime.fromisoformat(row.time).replace(tzinfo=UTC) for row in rows if row.time]
    if not times:
        return LabelSelection(served, UNKNOWN_APPROVAL, NO_AUDIT, origins)
    within: dict[str, Any] = {"model": model, "since": min(times), "until": max(times)}
    within["most"] = float(most_of(settings.trust.rows_per_voter))
    thumbs = approval_of(**label_selection.thumbs(store, **within))
    parts = label_selection.audit(store, **within, labels=sorted(known), reviewers=settings.feedback.reviewers)
    found = {name: LabelledAnswers(**sums) for name, sums in parts.items()}
    return LabelSelection(served, thumbs, audit_of(found["asked"], found["other"], found["drawn"]), origins)
