"""An OpenID Connect provider that misbehaves as a test says, and control's console that uses it."""

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from core.db import audit_log
from core.db.audit_log import Filter
from core.settings import Settings, build
from ops.console.oidc_login import LOGIN_COOKIE
from tests.support.console_security import KeyedConsole

CLIENT, SECRET = "loraloop", "s3cret +/"
PUBLIC = "http://testserver"
ADA = "ada@example.com (person 248289761001)"
ROLES = {"ops": "operator", "eyes": "viewer", "root": "admin", "shop": "admin"}


def settings_of(issuer: str, data: Path, /, **oidc: Any) -> dict[str, Any]:
    """Plain settings with a provider."""
    return {
        "data": str(data),
        "models": {name: {"labels": ["good", "bad"]} for name in ("reviews", "tweets")},
        "control": {"public_url": PUBLIC},
        "login": {
            "oidc": {"issuer": issuer, "client_id": CLIENT, "roles": ROLES, "models": {"shop": ["tweets"]}} | oidc
        },
    }


class FakeProvider:
    """A provider with one person, who is logged in there. Its public attributes say how it misbehaves."""

    def __init__(self) -> None:
        self.url = ""
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.signing = self.key
        self.algorithm = "RS256"
        # Changes to the ID token; None removes a claim.
        self.claims: dict[str, Any] = {}
        self.person: dict[str, Any] = {"sub": "248289761001", "email": "ada@example.com", "groups": ["ops"]}
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.down = False
        self.now = 0.0
        self.codes: dict[str, dict[str, str]] = {}
        self.discoveries = 0
        self.token_request: dict[str, Any] = {}
        self.id_token = ""
        self.app = FastAPI()
        self._add_routes()

    def _add_routes(self) -> None:
        @self.app.get("/.well-known/openid-configuration")
        def discovery() -> Any:
            self.discoveries += 1
            if self.down:
                return JSONResponse({}, 500)
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "end_session_endpoint": f"{self.url}/leave",
            } | self.metadata

        @self.app.get("/authorize")
        def authorize(request: Request) -> Any:
            query = dict(request.query_params)
            code = f"code-{len(self.codes)}"
            self.codes[code] = query
            return RedirectResponse(f"{query['redirect_uri']}?code={code}&state={query['state']}", 303)

        @self.app.get("/keys")
        def keys() -> Any:
            return KeySet([self.key]).as_dict(private=False)

        @self.app.get("/userinfo")
        def userinfo(request: Request) -> Any:
            if request.headers["authorization"] != "Bearer access":
                return JSONResponse({}, 401)
            return {"sub": self.person["sub"]} | self.userinfo

        @self.app.post("/token")
        async def token(request: Request) -> Any:
            form = dict(parse_qsl((await request.body()).decode()))
            self.token_request = {"form": form, "authorization": request.headers.get("authorization")}
            query = self.codes.pop(form["code"], None)
            challenge = _base64(hashlib.sha256(form["code_verifier"].encode()).digest())
            if query is None or query["code_challenge"] != challenge:
                return JSONResponse({"error": "invalid_grant"}, 400)
            if query["redirect_uri"] != form["redirect_uri"]:
                return JSONResponse({"error": "invalid_request"}, 400)
            self.id_token = self.signed(query["nonce"])
            return {"access_token": "access", "token_type": "Bearer", "id_token": self.id_token}

    def signed(self, nonce: str) -> str:
        """An ID token with the changes of the test."""
        right = {"iss": self.url, "aud": CLIENT, "exp": self.now + 300, "iat": self.now, "nonce": nonce}
        claims = {name: value for name, value in (right | self.person | self.claims).items() if value is not None}
        header = {"alg": self.algorithm, "kid": "one"}
        if self.algorithm == "RS256":
            return jwt.encode(header, claims, self.signing)
        # By hand, because joserfc makes no token that should fool somebody. HMAC has the public key as its secret.
        begun = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
        signature = hmac.digest(self.key.as_pem(private=False), begun.encode(), "sha256")
        return f"{begun}.{_base64(signature) if self.algorithm == 'HS256' else ''}"


class OidcConsole(KeyedConsole):
    """Control with its console, a provider and a browser before it."""

    def __init__(self, data: Path, issuer: str) -> None:
        self.plain = settings_of(issuer, data)
        super().__init__(data, build(self.plain))

    def start(self, onward: str = "/overview") -> str:
        """Begins a log-in: the URL at the provider."""
        answer = self.browser.get("/login/oidc", params={"onward": onward})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def at_provider(self, url: str) -> str:
        """The provider's redirect back, as a path."""
        back = httpx.get(url, trust_env=False).headers["location"]
        assert back.startswith(f"{PUBLIC}/login/oidc/callback?")
        return back.removeprefix(PUBLIC)

    def sign_in(self, onward: str = "/overview") -> httpx.Response:
        """A whole log-in; the answer to its last step."""
        return self.browser.get(self.at_provider(self.start(onward)))

    def use(self, settings: Settings) -> None:
        """Other settings, as after a reload."""
        self.control.settings = settings

    def acts(self) -> list[tuple[str, str, str]]:
        """The audit log: act, outcome and actor."""
        self.control.audit.flush(all_of_them=True)
        every = Filter(None, None, None, None, None, None, None)
        rows = audit_log.page(self.control.store, every, limit=50)
        return [(row["act"], row["outcome"], row["actor"]) for row in rows]

    def count(self) -> int:
        """Sessions of people in the store."""
        return self.control.store._connection.execute("SELECT count(*) FROM console_sessions").fetchone()[0]

    def check_refused(self, answer: httpx.Response, status: int, text: str) -> None:
        """Nobody is logged in, the page says why, and a key still logs in."""
        assert answer.status_code == status and re.search(text, answer.text), answer.text
        assert "Ops key" in answer.text and "loraloop_session" not in answer.headers.get("set-cookie", "")
        assert self.browser.get("/runs").status_code == 401 and self.count() == 0
        self.log_in("reader")
        assert self.browser.get("/runs").status_code == 200

    @property
    def login_cookie(self) -> str:
        """The cookie that ties a log-in to its browser."""
        return self.browser.cookies[LOGIN_COOKIE]


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def query_of(url: str) -> dict[str, str]:
    """The query of a URL, each name once."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
