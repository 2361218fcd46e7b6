"""Freeze models: until a person ends it, no candidate of the model gets users automatically, nor becomes champion."""

from core.db import frozen_models
from core.errors import AlreadyDone, NotReady
from core.ledger import append
from core.records import Verdict
from rollout.change_writer import DecisionContext, make_decision
from rollout.cooldown import freeze_reason
from rollout.promotion import RouteManager


def freeze(routes: RouteManager, model: str, actor: str, comment: str) -> str:
    """Freeze a model, and return the id of its ledger entry. Raises NotFound, or AlreadyDone if it is frozen."""
    reason = (
        f"{model} was frozen by {actor}: {comment or 'no reason given'}. No candidate gets users or becomes champion "
        "automatically. A canary or holdback that does harm still ends."
    )
    with routes.store.transaction() as transaction:
        champion, now = routes.route(model).champion, routes.clock()
        if found := frozen_models.find(transaction, model=model):
            raise AlreadyDone(f"{model} is frozen already.", hint=freeze_reason(model, found))
        frozen_models.add(transaction, model=model, time=now, actor=actor, comment=comment)
        context = DecisionContext(reason, "person", actor, comment)
        made = make_decision(model, champion, None, Verdict.FROZEN, context, now)
        append(transaction, made)
    return made.id


def unfreeze(routes: RouteManager, model: str, actor: str, comment: str) -> str:
    """End the freeze of a model, and return the id of its ledger entry.

    Raises NotFound, or NotReady if it is not frozen.
    """
    with routes.store.transaction() as transaction:
        champion, now = routes.route(model).champion, routes.clock()
        if frozen_models.find(transaction, model=model) is None:
            raise NotReady(f"{model} is not frozen.", hint="What serves now: loraloop models")
        frozen_models.delete(transaction, model=model)
        context = DecisionContext(f"The freeze of {model} was ended by {actor}.", "person", actor, comment)
        made = make_decision(model, champion, None, Verdict.UNFROZEN, context, now)
        append(transaction, made)
    return made.id
