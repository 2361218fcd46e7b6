"""Which engines of `gateway.embeddings` or `gateway.rerank` lack their model, for the doctor."""

import httpx

from core.settings import PassThroughSettings

SECONDS = 5.0


def lacking(engines: PassThroughSettings, key: str) -> list[str]:
    """Return what is wrong, one text per engine that does not list the model. `key` is the engines' key, if any."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return [problem for url in engines.engines if (problem := _problem(url, engines.model, headers))]


def _problem(url: str, model: str, headers: dict[str, str]) -> str:
    try:
        answer = httpx.get(f"{url}/v1/models", headers=headers, timeout=SECONDS, trust_env=False)
    except httpx.HTTPError:
        return f"{url} does not answer"
    if answer.status_code != 200:
        return f"{url} answers {answer.status_code}"
    try:
        names = [str(found["id"]) for found in answer.json()["data"]]
    except (ValueError, LookupError, TypeError):
        return f"{url} is no engine"
    return "" if model in names else f"{url} has {', '.join(names)[:200]}"
