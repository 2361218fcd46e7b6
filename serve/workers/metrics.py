"""The metrics of a gateway's workers as one text for Prometheus.

Each series has the label `worker`. A sum over workers would fall when one of them restarts, and Prometheus would take
that for a restart of all.
"""

import re
from collections.abc import Mapping

SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(\{?)", re.MULTILINE)
FAMILY = "# HELP "
ANSWERING = """# HELP loraloop_workers Workers of this gateway that answered.
# TYPE loraloop_workers gauge
loraloop_workers {}
"""


def merge(texts: Mapping[str, str]) -> str:
    """One text of those of workers, by the names of the workers. A family's samples stay together."""
    families: dict[str, list[str]] = {}
    for worker, text in texts.items():
        for family in text.split(FAMILY)[1:]:
            described, kind, *samples = family.split("\n", maxsplit=2)
            families.setdefault(f"{FAMILY}{described}\n{kind}\n", []).append(_labelled("".join(samples), worker))
    return "".join(head + "".join(samples) for head, samples in families.items()) + ANSWERING.format(len(texts))


def _labelled(samples: str, worker: str) -> str:
    def add(found: re.Match[str]) -> str:
        return f'{found[1]}{{worker="{worker}"' + ("," if found[2] else "}")

    return SAMPLE.sub(add, samples)
