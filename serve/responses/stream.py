"""The events of a chat's stream as those of OpenAI's Responses API."""

from collections.abc import Callable
from typing import Any

from serve.gateway.events import named_event
from serve.gateway.translated_stream import TranslatedStream
from serve.responses.answer import (
    Body,
    call_item,
    ended,
    item_id,
    message_item,
    output_items,
    reasoning_item,
    response,
    text_part,
)
from serve.responses.items import Item

END = b"data: [DONE]\n\n"
# The names of a part's events, and the field that a delta adds to.
PARTS = {
    "output_text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "reasoning_text": ("response.reasoning_text", "text"),
}


class OpenItem:
    """An item of the answer that deltas add to. Its texts are joined when it is done."""

    def __init__(self, item: Item, place: int) -> None:
        self.item = item
        self.place = place
        self.pieces: list[str] = []
        self.scores: list[Any] = []
        # The event of the open part's next delta. Most events of a stream are deltas, so it is made once and filled in.
        self.delta: Body = {}

    @property
    def part(self) -> Item | None:
        """The part that is open; calls of functions have none."""
        parts = self.item.get("content")
        return parts[-1] if parts else None


class ResponseStream(TranslatedStream):
    """Translates one stream. `request` is the body of the Responses API, `now` gives Unix time in seconds."""

    def __init__(self, request: Body, now: Callable[[], int]) -> None:
        super().__init__()
        self._request = request
        self._now = now
        self._sequence = 0
        self._response: Body = {}
        self._items: list[Item] = []
        self._open: dict[str, OpenItem] = {}
        self._final: Body | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the first event of the answer has come."""
        return self._begun

    def so_far(self) -> Body:
        """The response with all that has come, as it is stored once the answer is whole."""
        if self._final is None:
            for opened in self._open.values():
                _join(opened)
            items = [{**item, "status": "completed"} for item in self._items]
            output = items or output_items(self._response["id"], {})
            self._final = ended({**self._response, "output": output}, self._finish, self._usage, self._now())
        return self._final

    def _begin(self, found: Body) -> list[bytes]:
        self._response = response(
            self._request,
            identity=found["id"],
            model=found["model"],
            created=int(found.get("created") or 0),
            status="in_progress",
            output=[],
        )
        return [self._event(name, response=self._response) for name in ("response.created", "response.in_progress")]

    def _add(self, choice: Body) -> list[bytes]:
        delta: Body = choice.get("delta") or {}
        scores = (choice.get("logprobs") or {}).get("content") or []
        events: list[bytes] = []
        if thought := delta.get("reasoning"):
            events += self._add_text("reasoning", "reasoning_text", thought, [])
        if text := delta.get("content"):
            events += self._add_text("message", "output_text", text, scores)
        if refusal := delta.get("refusal"):
            events += self._add_text("message", "refusal", refusal, [])
        for call in delta.get("tool_calls") or ():
            events += self._add_call(call)
        return events

    def _add_text(self, kind: str, part: str, text: str, scores: list[Any]) -> list[bytes]:
        opened, events = self._open.get(kind), list[bytes]()
        name = f"{PARTS[part][0]}.delta"
        if opened is None or opened.delta.get("type") != name:
            opened = self._open_part(kind, part, events)
            scored = {"logprobs": scores} if part == "output_text" else {}
            opened.delta = self._about_part(name, opened) | {"delta": text} | scored
        opened.pieces.append(text)
        opened.scores += scores
        event = opened.delta
        event["delta"] = text
        if "logprobs" in event:
            event["logprobs"] = scores
        events.append(self._numbered(event))
        return events

    def _open_part(self, kind: str, part: str, events: list[bytes]) -> OpenItem:
        """An item of this kind whose open part is of this type. `events` gets what begins and ends until then."""
        if (opened := self._open.get(kind)) is None:
            # A call stays open: a text may come between the parts of its arguments.
            events += self._close("reasoning", "message")
            make, prefix = (reasoning_item, "rs") if kind == "reasoning" else (message_item, "msg")
            opened = self._start(kind, make(self._id(prefix), [], "in_progress"), events)
        events += self._end_part(opened)
        new = {"type": "refusal", "refusal": ""} if part == "refusal" else text_part("", [])
        opened.item["content"].append(new if kind == "message" else {"type": part, "text": ""})
        events.append(self._of_part("response.content_part.added", opened, part=opened.part))
        return opened

    def _add_call(self, call: Body) -> list[bytes]:
        events: list[bytes] = []
        function, key = call.get("function") or {}, f"call {call.get('index', 0)}"
        opened = self._open.get(key)
        if opened is None:
            events += self._close(*self._open)
            item = call_item(self._id("fc"), str(call.get("id")), str(function.get("name")), "", "in_progress")
            opened = self._start(key, item, events)
        if arguments := function.get("arguments"):
            opened.pieces.append(arguments)
            events.append(self._of_item("response.function_call_arguments.delta", opened, delta=arguments))
        return events

    def _start(self, key: str, item: Item, events: list[bytes]) -> OpenItem:
        opened = self._open[key] = OpenItem(item, len(self._items))
        self._items.append(item)
        events.append(self._event("response.output_item.added", output_index=opened.place, item=item))
        return opened

    def _close(self, *keys: str) -> list[bytes]:
        """The events that end these items, if they are open."""
        events: list[bytes] = []
        for key in keys:
            if (opened := self._open.pop(key, None)) is None:
                continue
            if opened.item["type"] == "function_call":
                _join(opened)
                said = {name: opened.item[name] for name in ("name", "arguments")}
                events.append(self._of_item("response.function_call_arguments.done", opened, **said))
            else:
                events += self._end_part(opened)
            opened.item["status"] = "incomplete" if self._is_cut(opened) else "completed"
            events.append(self._event("response.output_item.done", output_index=opened.place, item=opened.item))
        return events

    def _is_cut(self, opened: OpenItem) -> bool:
        return self._finish in ("length", "content_filter") and opened.place == len(self._items) - 1

    def _end_part(self, opened: OpenItem) -> list[bytes]:
        part = opened.part
        if part is None:
            return []
        _join(opened)
        opened.pieces, opened.scores = [], []
        name, field = PARTS[part["type"]]
        more = {"logprobs": part["logprobs"]} if part["type"] == "output_text" else {}
        done = self._of_part(f"{name}.done", opened, **{field: part[field]}, **more)
        return [done, self._of_part("response.content_part.done", opened, part=part)]

    def _last(self) -> list[bytes]:
        events: list[bytes] = []
        if not self._items:
            empty = message_item(self._id("msg"), [], "in_progress")
            opened = self._start("message", empty, events)
            opened.item["content"].append(text_part("", []))
            events.append(self._of_part("response.content_part.added", opened, part=opened.part))
        events += self._close(*self._open)
        final = self.so_far()
        name = "response.completed" if final["status"] == "completed" else "response.incomplete"
        return [*events, self._event(name, response=final), END]

    def _failed(self, message: str, code: str) -> bytes:
        """An error, and the response as it ended, if it had begun."""
        error = self._event("error", code=code, message=message, param=None)
        if not self._response:
            return error + END
        why = {"code": "server_error", "message": message}
        failed = {**self._response, "output": self._items, "status": "failed", "error": why}
        return error + self._event("response.failed", response=failed) + END

    def _id(self, prefix: str) -> str:
        return item_id(prefix, self._response["id"], len(self._items))

    def _of_part(self, kind: str, opened: OpenItem, /, **data: Any) -> bytes:
        return self._numbered(self._about_part(kind, opened) | data)

    def _of_item(self, kind: str, opened: OpenItem, /, **data: Any) -> bytes:
        return self._event(kind, item_id=opened.item["id"], output_index=opened.place, **data)

    def _event(self, kind: str, /, **data: Any) -> bytes:
        return self._numbered({"type": kind, "sequence_number": 0, **data})

    def _about_part(self, kind: str, opened: OpenItem) -> Body:
        about = {"item_id": opened.item["id"], "output_index": opened.place}
        return {"type": kind, "sequence_number": 0, **about, "content_index": len(opened.item["content"]) - 1}

    def _numbered(self, event: Body) -> bytes:
        """The event with the next number of the stream."""
        event["sequence_number"] = self._sequence
        self._sequence += 1
        return named_event(event["type"], event)


def _join(opened: OpenItem) -> None:
    """Put the pieces into the item: into its open part, or into the arguments of its call."""
    part = opened.part
    if opened.item["type"] == "function_call":
        opened.item["arguments"] = "".join(opened.pieces)
    elif part is not None and opened.pieces:
        part[PARTS[part["type"]][1]] = "".join(opened.pieces)
        if part["type"] == "output_text":
            part["logprobs"] = opened.scores
