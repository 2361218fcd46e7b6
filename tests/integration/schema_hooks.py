"""Hooks of schemathesis for test_schema.py: random requests name an existing model and stay short.

It is loaded by schemathesis itself, as its configuration says.
"""

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Without this nearly every request would end at 404 and reach no engine."""
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        limit = "max_output_tokens" if "input" in body else "max_tokens"
        return {limit: 4} | body | {"model": "plain"}
    return body
