"""What one run of the demo measured: seconds per phase, totals per wave, and every request."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from demo.simulated_users import Seen, approval


@dataclass(slots=True)
class Record:
    """Measurements of one model's loop so far."""

    seconds: dict[str, float] = field(default_factory=dict)
    waves: list[dict[str, Any]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase. Phases of the same name add up."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - started, 1)

    def wave(self, name: str, model: str, seen: Sequence[Seen], seconds: float) -> None:
        """Add a wave's totals for one model."""
        of_model = [s for s in seen if s.model == model]
        answered = [s for s in of_model if not s.failed]
        self.waves.append(
            {
                "name": name,
                "model": model,
                "requests": len(of_model),
                "failed": len(of_model) - len(answered),
                "approval": round(approval(answered), 4) if answered else None,
                "approval_by_version": {
                    str(v): round(approval([s for s in answered if s.version == v]), 4)
                    for v in sorted({s.version for s in answered})
                },
                "versions": {str(v): n for v, n in sorted(Counter(s.version for s in answered).items())},
                "seconds": round(seconds, 1),
            }
        )
