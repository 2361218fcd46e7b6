"""A small app with simulated users: it asks LoraLoop for labels and reports what its users think of them.

Each user writes short product reviews. The app asks the model whether a review is negative, neutral or positive.
The user gives a thumbs-up or a thumbs-down, and picks the right label. To adapt it, replace `write_review` with
your own traffic and keep `classify` and `send_feedback`.

    export APP_KEY=llk_...            # a key with the scopes infer and feedback
    python examples/quickstart/app.py --users 160 --requests 2
"""

import argparse
import asyncio
import os
import time
from collections import Counter

import httpx
import openai
from reviews import LABELS, write_review

MODEL = "reviews"
# The instruction is the same in every request, because an adapter learns the prompt together with its answers.
INSTRUCTION = "Sentiment of the review: negative, neutral or positive?"
CONCURRENCY = 16
PROGRESS_EVERY = 40  # requests


async def classify(client: openai.AsyncOpenAI, text: str, user: str) -> tuple[str, str, str]:
    """Ask for one of the labels. Return the answer, the id for feedback, and the version that answered."""
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL,
        user=user,  # always the same for one person: it decides who gets the canary
        temperature=0,
        max_tokens=8,
        messages=[{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text}],
        extra_body={"structured_outputs": {"choice": LABELS}},  # the answer is one of the labels
    )
    completion = raw.parse()
    return completion.choices[0].message.content or "", completion.id, raw.headers["x-loraloop-version"]


async def send_feedback(
    http: httpx.AsyncClient, interaction_id: str, user: str, *, thumbs_up: bool, label: str
) -> None:
    """Send a thumb and the right label in one call. Raise an error unless both are on disk."""
    about = {"interaction_id": interaction_id, "user": user}
    thumbs = {"type": "thumbs", "value": thumbs_up, **about}
    response = await http.post("/feedback", json=[thumbs, {"type": "label", "value": label, **about}])
    response.raise_for_status()


class Progress:
    """Counts answers and right answers by version, and prints a line now and then."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.began = time.monotonic()
        self.answers: Counter[str] = Counter()
        self.right: Counter[str] = Counter()

    def count(self, version: str, *, right: bool) -> None:
        """Count one answer."""
        self.answers[version] += 1
        self.right[version] += right
        done = self.answers.total()
        if done % PROGRESS_EVERY == 0 or done == self.total:
            shares = ", ".join(f"{v} was right in {self.right[v]} of {n}" for v, n in sorted(self.answers.items()))
            print(f"{time.monotonic() - self.began:4.0f} s  {done} of {self.total} requests. {shares}", flush=True)


async def run(options: argparse.Namespace, key: str) -> None:
    """Send all requests, 16 at a time, in turns of one request per user."""
    progress = Progress(options.users * options.requests)
    free = asyncio.Semaphore(CONCURRENCY)

    async def one(number: int, review: int) -> None:
        async with free:
            user = f"user-{number}"
            text, truth = write_review(number, review)
            answer, interaction_id, version = await classify(client, text, user)
            await send_feedback(http, interaction_id, user, thumbs_up=answer == truth, label=truth)
        progress.count(version, right=answer == truth)

    async with (
        openai.AsyncOpenAI(base_url=options.url, api_key=key) as client,
        httpx.AsyncClient(base_url=options.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
    ):
        reviews = range(options.first_review, options.first_review + options.requests)
        await asyncio.gather(*(one(number, review) for review in reviews for number in range(options.users)))


def main() -> None:
    """Read the options and send the requests."""
    parser = argparse.ArgumentParser(description="An app with simulated users, for LoraLoop's quickstart.")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the gateway (default: %(default)s)")
    parser.add_argument("--users", type=int, default=160, help="number of users (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=2, help="requests per user (default: %(default)s)")
    parser.add_argument("--first-review", type=int, default=0, help="where in each user's list of reviews to start")
    options = parser.parse_args()
    key = os.environ.get("APP_KEY")
    if not key:
        raise SystemExit("Set APP_KEY to a key with the scopes infer and feedback: docs/quickstart.md says how.")
    asyncio.run(run(options, key))


if __name__ == "__main__":
    main()
