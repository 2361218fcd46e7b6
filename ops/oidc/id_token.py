"""Verifies ID tokens: OpenID Connect Core 1.0, section 3.1.3.7. It sends nothing."""

from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import KeySet

from core.errors import LoginRefused

# Signatures by a private key of the provider. None of these is "none", and none is made with a shared secret: the
# provider's public key could be misused as one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
# Seconds that the provider's clock may differ from ours.
LEEWAY = 60


def read_keys(found: Any) -> KeySet:
    """The provider's public keys. Keys of kinds that are not known here are left out. Raises ValueError."""
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise ValueError("it has no list of keys")
    usable = []
    for key in found["keys"]:
        # A key for encryption, or one of another kind than the algorithms above need.
        if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig":
            try:
                usable += KeySet.import_key_set({"keys": [key]}).keys
            except (JoseError, ValueError, KeyError, TypeError):
                continue
    if not usable:
        raise ValueError("it has no usable key")
    return KeySet(usable)


def verify(token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, now: float) -> dict[str, Any]:
    """The claims of an ID token, if its signature and all of them are right. `now` is in seconds since 1970.

    Raises LoginRefused.
    """
    wanted = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=LEEWAY,
        iss={"essential": True, "value": issuer},
        sub={"essential": True},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True},
    )
    try:
        found = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
        wanted.validate(found)
    except ExpiredTokenError as error:
        raise LoginRefused("The provider's ID token has expired.", hint="Compare the clocks of both.") from error
    except (InvalidClaimError, MissingClaimError) as error:
        raise LoginRefused(f"The provider's ID token is not for this log-in: {error.description}.") from error
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise LoginRefused("The provider's ID token is not signed as it must be.") from error
    # The registry takes a list that contains the right value, which is right for audiences alone.
    if found["nonce"] != nonce:
        raise LoginRefused("The provider's ID token is not for this log-in: its nonce is another.")
    if found.get("azp", client_id) != client_id:
        raise LoginRefused("The provider's ID token was made for another client: its azp is another.")
    if isinstance(found["aud"], list) and len(found["aud"]) > 1 and "azp" not in found:
        raise LoginRefused("The provider's ID token is for several clients and does not say for which one it was made.")
    return found
