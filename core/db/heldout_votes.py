"""Held-out votes on answers, and the answers that must not judge."""

from core.db.store import Database, Row


def thumbs(db: Database, *, model: str, low: float, high: float) -> list[Row]:
    """Thumbs of the users whose place in the split is in [low, high), with their interactions, oldest first."""
    return db.rows("heldout_votes.thumbs", model=model, low=low, high=high)


def has_flags_on_conversations(db: Database) -> bool:
    """Whether a conversation has been flagged. It reads feedback alone."""
    return db.maybe("heldout_votes.flags_on_conversations") is not None


def flagged(db: Database, *, model: str, flag_voters: int) -> frozenset[str]:
    """The interactions whose answers are flagged unsafe or private, by the rules of curation."""
    return frozenset(flags(db, model=model, flag_voters=flag_voters))


def flags(db: Database, *, model: str, flag_voters: int) -> dict[str, list[str]]:
    """The ids of the flags by flagged interaction, as in `flagged`."""
    rows = db.rows("heldout_votes.flagged", model=model, flag_voters=flag_voters)
    return {row["interaction_id"]: row["flags"] for row in rows}
