"""Signed JSON webhooks, as Standard Webhooks (standardwebhooks.com) has them.

It owns the signature and the request. Neither the URL nor the secret is ever logged: a URL may contain a token.
"""

import base64
import binascii
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx

from core.errors import SettingsError
from core.settings import KEY_VARIABLES
from ops.notify.message import Message

log = logging.getLogger(__name__)

SCHEMES = {"webhook+http": "http", "webhook+https": "https"}
PREFIX = "whsec_"
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
TIMEOUT_SECONDS = 10.0
VARIABLE = KEY_VARIABLES["webhook"]
HOW = f"Do: export {VARIABLE}=whsec_$(openssl rand -base64 32)"


def is_webhook(url: str) -> bool:
    """Whether a target's URL is one of a signed webhook."""
    return url.partition(":")[0].lower() in SCHEMES


def secrets_of(text: str) -> list[bytes]:
    """The secrets in a setting, separated by spaces. Raises SettingsError, without the secret."""
    found = []
    for place, one in enumerate(text.split(), 1):
        try:
            key = base64.b64decode(one.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not one.startswith(PREFIX) or not LEAST_SECRET_BYTES <= len(key) <= MOST_SECRET_BYTES:
            raise SettingsError(
                f"{VARIABLE}: secret {place} is not {PREFIX} with base64 of {LEAST_SECRET_BYTES} to "
                f"{MOST_SECRET_BYTES} bytes.",
                hint=HOW,
            )
        found.append(key)
    if not found:
        raise SettingsError(f"A webhook needs a secret, and {VARIABLE} is not set.", hint=HOW)
    return found


def sign(secrets: Sequence[bytes], identity: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature per secret, so that a receiver may change to a new one.

    Each is HMAC-SHA256 over id, time in seconds since 1970 and body, with points between them, in base64.
    """
    content = b".".join((identity.encode(), str(timestamp).encode(), body))
    digests = (hmac.new(secret, content, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def payload(message: Message) -> bytes:
    """The body of a request. It is the same each time that a message is tried."""
    content = {
        "type": message.type,
        "timestamp": message.time.astimezone(UTC).isoformat(),
        "data": message.data | {"title": message.title, "text": message.body, "kind": message.kind},
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def sender(url: str, secrets: Sequence[bytes], name: str, now: Callable[[], datetime]) -> Callable[[Message], bool]:
    """What sends messages to a webhook, and returns whether it took one. Raises SettingsError for a URL without host.

    A redirect is a refusal: the receiver's URL is the one that was configured.
    """
    scheme, _, rest = url.partition(":")
    address = f"{SCHEMES[scheme.lower()]}:{rest}"
    if not _has_host(address):
        raise SettingsError(f"{name} has no host.", hint="Write it as webhook+https://host/path.")

    def send(message: Message) -> bool:
        body, timestamp = payload(message), int(now().timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "LoraLoop",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secrets, message.id, timestamp, body),
        }
        # The answer's body is never read: only its status counts, and its length is the receiver's choice.
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream("POST", address, content=body, headers=headers) as answer,
        ):
            if not answer.is_success:
                log.warning("%s answered %d", name, answer.status_code)
            return answer.is_success

    return send


def _has_host(address: str) -> bool:
    try:
        return bool(urlsplit(address).hostname) and urlsplit(address).port != 0
    except ValueError:
        return False
