"""Targets: where notifications go, each a URL of apprise or of a signed webhook, which may hold a token.

It alone reads a URL and lets none out: a target is called by its place and kind, the store has only its
fingerprint, and apprise's own log is off. It must not depend on what a message says.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from core.clock import utc_now
from core.errors import SettingsError
from core.settings import KEY_VARIABLES, Settings
from ops.notify import webhooks
from ops.notify.message import Message


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver. `send` returns whether the message was taken, and may last as long as its timeouts."""

    name: str
    fingerprint: str
    send: Callable[[Message], bool] = field(repr=False)


def targets(settings: Settings) -> list[Target]:
    """The targets of the environment and the file. Raises SettingsError, without the URL, for one that is none."""
    urls = settings.keys.notify.get_secret_value().split() if settings.keys.notify else []
    places = {url: f"{KEY_VARIABLES['notify']}: URL {place}" for place, url in enumerate(urls, 1)}
    file = settings.notifications.urls_file
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"notifications.urls_file {file} cannot be read.", hint="Write a text file with one URL per line."
            ) from error
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                places[line.strip()] = f"notifications.urls_file, line {number}"
    secret = settings.keys.webhook.get_secret_value() if settings.keys.webhook else ""
    secrets = webhooks.secrets_of(secret) if any(map(webhooks.is_webhook, places)) else []
    return [
        _webhook(url, where, secrets) if webhooks.is_webhook(url) else _target(url, where)
        for url, where in places.items()
    ]


def _webhook(url: str, where: str, secrets: list[bytes]) -> Target:
    name = f"webhook ({where})"
    return Target(name, fingerprint_of(url), webhooks.sender(url, secrets, name, utc_now))


def _target(url: str, where: str) -> Target:
    import apprise

    # What apprise and its HTTP client log may hold a URL, and with it a token.
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    asset = apprise.AppriseAsset(app_id="LoraLoop", app_desc="LoraLoop", http_redirects=False)
    receiver = apprise.Apprise(asset=asset)
    if not receiver.add(url):
        raise SettingsError(
            f"{where} is not a URL that apprise supports.",
            hint="Write it as apprise does: slack://…, mailto://…, json://host/path. Or webhook+https://host/path.",
        )
    name = f"{url.partition(':')[0].lower()} ({where})"
    return Target(name, fingerprint_of(url), partial(_send, receiver))


def _send(receiver: Any, message: Message) -> bool:
    import apprise

    return bool(
        receiver.notify(
            title=message.title,
            body=message.body,
            notify_type=apprise.NotifyType(message.kind),
            body_format=apprise.NotifyFormat.TEXT,
        )
    )


def fingerprint_of(url: str) -> str:
    """A name for a URL that does not tell it: slow to compute, for the password in it may be a weak one."""
    return hashlib.scrypt(url.encode(), salt=b"loraloop notification target", n=2**14, r=8, p=1, dklen=12).hex()
