"""The pages of erasures: the receipts, and the erasure of a user after a question. They need a key of `admin`."""

from typing import Any

from fastapi import Request, Response

from core.acts import Act, act, no_act, note
from core.route_list import RouteList
from feedback.erasure import Request as Wanted
from ops.console.actions import Question, by_visitor, done
from ops.console.auth import ByVisitor, FormFields, known
from ops.console.pages import UNKEPT
from ops.console.rendering import Pages
from ops.erasures import Erasures

COUNTS = {
    "interactions": "interactions",
    "feedback": "rows of feedback",
    "texts_of_others": "texts of others on this user's answers",
    "stored_completions": "stored completions",
    "dead_letters": "dead letters",
    "regressions": "examples of evaluations",
    "snapshot_rows": "rows of snapshots",
    "answers": "cached answers of evaluations, of all users",
}
NAMED = {
    "versions": "Versions that learnt from the user",
    "holdouts": "Holdouts that judged with the user",
    "backups": "Older backups, which have the user",
    "ledger_rows": "Rows of the ledger that name the user",
    "segments": "Segments that gateways have not deleted",
}
MOST = 100


def create_router(erasures: Erasures, pages: Pages, longest: int) -> RouteList:
    """The list, one receipt, the question and the erasure. The user is never in an address, which proxies log."""
    router = RouteList()

    @router.get("/erasures.json", include_in_schema=False)
    @no_act("It shows a hash of each user, no names.")
    def receipts(response: Response) -> dict[str, Any]:
        response.headers.update(UNKEPT)
        return {"erasures": erasures.newest(MOST)}

    @router.get("/erasures", include_in_schema=False)
    @no_act("It shows a hash of each user, no names.")
    def listed(request: Request) -> Any:
        found = {"erasures": erasures.newest(MOST), "twin": "/erasures.json"}
        return pages.render("erasures.html", visitor=known(request), **found)

    @router.get("/erasures/{identity}", include_in_schema=False)
    @no_act("It shows a hash of each user, no names.")
    def receipt(request: Request, identity: str) -> Any:
        found = erasures.show(identity)
        return pages.render("erasure.html", visitor=known(request), e=found, counts=COUNTS, named=NAMED)

    @router.post("/erasures/preview", include_in_schema=False)
    @act(Act.USERS_PREVIEW)
    def ask(fields: FormFields, visitor: ByVisitor) -> Any:
        return pages.render("confirm.html", q=_question(erasures, _wanted(fields)), visitor=visitor, longest=longest)

    @router.post("/erasures", include_in_schema=False)
    @act(Act.USERS_ERASE)
    def erase(request: Request, fields: FormFields, visitor: ByVisitor) -> Any:
        by = by_visitor(visitor, fields)
        wanted = _wanted(fields)
        begun = erasures.begin(Wanted(wanted.user, wanted.key, by.actor, by.comment))
        note(request, thing=begun["id"])
        return done(f"/erasures/{begun['id']}")

    return router


def _wanted(fields: dict[str, str]) -> Wanted:
    return Wanted(fields.get("user", ""), fields.get("key", "").strip() or None)


def _question(erasures: Erasures, wanted: Wanted) -> Question:
    found = erasures.preview(wanted)
    counts = [(what, f"{found['counts'][kind]:,}", "0") for kind, what in COUNTS.items() if found["counts"][kind]]
    named = [(what, ", ".join(map(str, found[kind])), "do not change") for kind, what in NAMED.items() if found[kind]]
    of_key = f" of the key {wanted.key}" if wanted.key else ""
    return Question(
        f"Erase the user {wanted.user}{of_key}?",
        "Erase the user",
        (*counts, *named) or (("data of this user", "none is stored", "records that arrive late are dropped"),),
        "This cannot be undone. It waits for a run that is working, and folders before-restore-… are deleted too.",
        "/erasures",
        {"user": wanted.user} | ({"key": wanted.key} if wanted.key else {}),
        action="/erasures",
    )
