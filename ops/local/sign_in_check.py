"""The doctor's check of the OpenID Connect provider that people log in by."""

import asyncio

from core.clock import utc_now
from core.errors import ProviderFailed
from core.settings import Settings
from ops.local.finding import Finding
from ops.oidc.sign_in import provider_of

CHECK = "log-in provider"
FIX = "Compare login.oidc.issuer with the provider's; this machine must reach it. Keys still log in."


def check_provider(settings: Settings) -> list[Finding]:
    """Whether the provider's discovery document can be read and fits. Nothing without a provider."""
    provider = provider_of(settings, utc_now)
    if provider is None:
        return []
    try:
        asyncio.run(provider.discover())
    except ProviderFailed as error:
        return [Finding(CHECK, False, error.message, FIX)]
    found = f"{provider.settings.issuer} answers; allow it to redirect to {provider.redirect_uri}"
    if settings.keys.oidc is None:
        fix = "Export LORALOOP_OIDC_CLIENT_SECRET for control, unless the provider has LoraLoop as a public client."
        return [Finding(CHECK, True, f"{found}. No client secret", fix, warns=True)]
    return [Finding(CHECK, True, found)]
