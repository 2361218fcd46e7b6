"""Measure the replacement of personal data in a snapshot's rows: rows and megabytes per CPU second.

python -m bench.pii --rows 100000

The texts are of random words with a mean of 1,200 characters. `--share` of them have personal data. The last line is
one JSON object. CPU seconds count, because the machine may have other work.
"""

import argparse
import json
import random
import time

import pyarrow as pa

from core.prompts import Chat, to_json
from core.settings.privacy import SCRUB_RULES
from feedback.pii_rows import scrub_table

PERSONAL = ("zoe@example.com", "+49 30 1234567", "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111", "8.8.8.8")
NUMBERS = ("order 4711-0815", "on 2026-03-01", "version 3.11.7", "12.50 EUR")


def texts(count: int, share: float, seed: int = 0) -> list[str]:
    """Prompts as JSON. Half of them have numbers that are no personal data."""
    chosen = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chosen.choices(letters, k=chosen.randint(2, 11))) for _ in range(20_000)]
    found = []
    for _ in range(count):
        said = chosen.choices(words, k=chosen.randint(20, 320))
        if chosen.random() < 0.5:
            said.insert(chosen.randrange(len(said)), chosen.choice(NUMBERS))
        if chosen.random() < share:
            said.insert(chosen.randrange(len(said)), chosen.choice(PERSONAL))
        found.append(to_json(Chat((("user", " ".join(said)),))))
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.02)
    asked = parser.parse_args()
    prompts = texts(asked.rows, asked.share)
    rows = pa.table({"prompt": prompts, "label": ["a short answer"] * asked.rows})
    size = sum(len(text.encode()) for text in prompts)
    began = time.process_time()
    _, counts = scrub_table(rows, SCRUB_RULES, ("prompt", "label"))
    seconds = time.process_time() - began
    figures = {
        "rows": asked.rows,
        "megabytes": round(size / 1e6, 1),
        "cpu_s": round(seconds, 2),
        "rows_per_cpu_s": round(asked.rows / seconds),
        "megabytes_per_cpu_s": round(size / 1e6 / seconds, 1),
        "replaced": counts,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
