"""User tokens: who forges one, and what is done with keys that change."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from captionacc_dagster.api.tokens import InvalidToken, KeysUnavailable, PublishedKeys, TokenVerifier
from captionacc_dagster_tests.api.world import AUDIENCE, ISSUER, JWT_SECRET, claims_of, sign

pytestmark = [pytest.mark.unit, pytest.mark.security]

USER = UUID("6f6d7a52-8a37-4d56-9d3c-0a4b5c6d7e8f")
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def _public(key: Any, kid: str, algorithm: Any, **more: str) -> dict[str, Any]:
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


class Keys:
    """Published keys that a test can change, and how often they were asked for."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = [
            _public(RSA_KEY, "rsa", RSAAlgorithm, alg="RS256"),
            _public(EC_KEY, "ec", ECAlgorithm, alg="ES256"),
            _public(ED_KEY, "ed", OKPAlgorithm, alg="EdDSA"),
            {"kty": "oct", "kid": "shared", "alg": "HS256", "k": base64.urlsafe_b64encode(b"x" * 32).decode()},
            {"kty": "RSA", "kid": "broken"},
            {"kty": "EC"},
        ]
        self.asked = 0
        self.status = 200
        self.body: bytes | None = None
        self.drip_s = 0.0
        self.url = ""


@pytest.fixture
def keys() -> Iterator[Keys]:
    state = Keys()
    with _published(state):
        yield state


@contextmanager
def _published(state: Keys) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            state.asked += 1
            body = json.dumps({"keys": state.entries}).encode() if state.body is None else state.body
            self.send_response(state.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            if not state.drip_s:
                self.wfile.write(body)
                return
            with contextlib.suppress(OSError):
                for number in range(len(body)):
                    self.wfile.write(body[number : number + 1])
                    time.sleep(state.drip_s)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/auth/v1/.well-known/jwks.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def verifier(published: PublishedKeys | None = None, secret: str | None = JWT_SECRET) -> TokenVerifier:
    return TokenVerifier(secret=secret, keys=published, audience=AUDIENCE, issuer=ISSUER)


def test_a_good_token_names_its_user() -> None:
    assert verifier().verify(sign(claims_of(USER))) == USER


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
        {"aud": "anon"},
        {"aud": None},
        {"iss": "https://evil.test/auth/v1"},
        {"iss": None},
        {"sub": None},
        {"sub": "not-a-uuid"},
        {"sub": ""},
        {"role": "service_role"},
        {"role": "anon"},
        {"exp": "soon"},
    ],
)
def test_a_token_with_wrong_claims_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(sign(claims_of(USER, **changes)))


def _unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    def encoded(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    return f"{encoded(header)}.{encoded(claims)}.{signature}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, "HS512", "HS384", 7, ["HS256"]])
def test_a_token_without_a_proper_algorithm_is_refused(keys: Keys, algorithm: object) -> None:
    token = _unsigned({"alg": algorithm, "typ": "JWT", "kid": "rsa"}, claims_of(USER))

    with pytest.raises(InvalidToken):
        verifier(PublishedKeys(keys.url)).verify(token)


@pytest.mark.parametrize(
    "token",
    ["", "a", "a.b", "a.b.c", "....", "eyJhbGciOiJIUzI1NiJ9..", "\0.\0.\0", "x" * 100_000, "é.é.é"],
)
def test_a_malformed_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(token)


def test_a_token_of_another_secret_is_refused() -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(sign(claims_of(USER), "another-secret-that-is-long-enough-too"))


def test_a_changed_token_is_refused() -> None:
    head, _, signature = sign(claims_of(USER)).split(".")
    other = sign(claims_of(uuid4())).split(".")[1]

    with pytest.raises(InvalidToken):
        verifier().verify(f"{head}.{other}.{signature}")


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"), [(RSA_KEY, "rsa", "RS256"), (EC_KEY, "ec", "ES256"), (ED_KEY, "ed", "EdDSA")]
)
def test_published_keys_are_accepted(keys: Keys, key: Any, kid: str, algorithm: str) -> None:
    token = jwt.encode(claims_of(USER), key, algorithm=algorithm, headers={"kid": kid})

    assert verifier(PublishedKeys(keys.url), secret=None).verify(token) == USER


def test_a_public_key_is_no_shared_secret(keys: Keys) -> None:
    """Key confusion: HS256 over the published RSA key, in every form that a library might take for a secret."""
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = _unsigned({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, claims_of(USER)).rpartition(".")[0]
    for secret in (pem, pem.strip(), json.dumps(keys.entries[0]).encode()):
        signature = base64.urlsafe_b64encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())
        token = f"{signed}.{signature.rstrip(b'=').decode()}"
        for chosen in (JWT_SECRET, None):
            with pytest.raises(InvalidToken):
                verifier(PublishedKeys(keys.url), secret=chosen).verify(token)


@pytest.mark.parametrize(
    ("kid", "algorithm", "key"),
    [
        ("ec", "RS256", RSA_KEY),
        ("rsa", "RS512", RSA_KEY),
        ("foreign", "RS256", RSA_KEY),
        ("shared", "RS256", RSA_KEY),
        ("broken", "RS256", RSA_KEY),
        ("rsa", "RS256", rsa.generate_private_key(65537, 2048)),
        ("rsa", "PS256", RSA_KEY),
    ],
)
def test_an_algorithm_is_pinned_to_its_key(keys: Keys, kid: str, algorithm: str, key: Any) -> None:
    token = jwt.encode(claims_of(USER), key, algorithm=algorithm, headers={"kid": kid})

    with pytest.raises(InvalidToken):
        verifier(PublishedKeys(keys.url)).verify(token)


def test_a_published_shared_key_is_not_used(keys: Keys) -> None:
    token = jwt.encode(claims_of(USER), b"x" * 32, algorithm="HS256", headers={"kid": "shared"})

    with pytest.raises(InvalidToken):
        verifier(PublishedKeys(keys.url)).verify(token)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


LIES = {
    "no JSON": b"<html>",
    "nothing": b"",
    "a list": b"[]",
    "keys that are no list": b'{"keys": {"rsa": 1}}',
    "keys that are text": b'{"keys": "rsa"}',
    "nested without end": b'{"keys": ' + b"[" * 100_000,
    "as large as it likes": b'{"keys": [' + b" " * 5_000_000 + b"]}",
    "not UTF-8": b'{"keys": [\xff]}',
}


@pytest.mark.parametrize("body", LIES.values(), ids=LIES)
def test_a_document_that_lies_is_no_answer(keys: Keys, body: bytes) -> None:
    keys.body = body
    with pytest.raises(KeysUnavailable):
        verifier(PublishedKeys(keys.url)).verify(
            jwt.encode(claims_of(USER), RSA_KEY, algorithm="RS256", headers={"kid": "rsa"})
        )


@pytest.mark.parametrize("status", [301, 302, 404, 500])
def test_another_answer_than_the_document_is_none(keys: Keys, status: int) -> None:
    keys.status = status
    with pytest.raises(KeysUnavailable):
        verifier(PublishedKeys(keys.url)).verify(
            jwt.encode(claims_of(USER), RSA_KEY, algorithm="RS256", headers={"kid": "rsa"})
        )


def test_one_bad_entry_does_not_spoil_the_others(keys: Keys) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    private = {**json.loads(RSAAlgorithm.to_jwk(RSA_KEY)), "kid": "private", "use": "sig", "alg": "RS256"}
    good, odd = keys.entries[0], [None, 7, "key", [], {"kid": ["a"]}, {"kty": "RSA", "kid": "n", "n": "!", "e": "AQAB"}]
    keys.entries = [*odd, _public(weak, "weak", RSAAlgorithm, alg="RS256"), private, {"kty": "EC", "kid": "x"}, good]
    published = PublishedKeys(keys.url)
    token = jwt.encode(claims_of(USER), RSA_KEY, algorithm="RS256", headers={"kid": "rsa"})
    assert verifier(published).verify(token) == USER
    for kid, key in (("weak", weak), ("private", RSA_KEY)):
        with pytest.raises(InvalidToken, match="not known"):
            verifier(published).verify(jwt.encode(claims_of(USER), key, algorithm="RS256", headers={"kid": kid}))


def test_keys_that_drip_are_not_waited_for(keys: Keys) -> None:
    keys.drip_s = 0.05
    began = time.monotonic()
    with pytest.raises(KeysUnavailable):
        verifier(PublishedKeys(keys.url, timeout_s=0.5)).verify(
            jwt.encode(claims_of(USER), RSA_KEY, algorithm="RS256", headers={"kid": "rsa"})
        )
    assert time.monotonic() - began < 5


def test_keys_are_kept_and_fetched_again_for_an_unknown_id(keys: Keys) -> None:
    clock = Clock()
    published = PublishedKeys(keys.url, clock=clock)
    assert published.find("rsa") is not None
    assert published.find("ec") is not None
    assert keys.asked == 1

    new = ec.generate_private_key(ec.SECP256R1())
    keys.entries.append(_public(new, "new", ECAlgorithm, alg="ES256"))
    # Not at once: who sends unknown ids must not make us fetch for each.
    assert [published.find(f"made-up-{number}") for number in range(100)] == [None] * 100
    assert keys.asked == 1
    clock.now += 31
    assert published.find("new") is not None
    assert keys.asked == 2


def test_withdrawn_keys_are_forgotten_after_ten_minutes(keys: Keys) -> None:
    clock = Clock()
    published = PublishedKeys(keys.url, clock=clock)
    assert published.find("rsa") is not None
    keys.entries.clear()

    clock.now += 601

    assert published.find("rsa") is None


def test_known_keys_outlive_an_outage(keys: Keys) -> None:
    clock = Clock()
    published = PublishedKeys(keys.url, clock=clock)
    assert published.find("rsa") is not None
    keys.status = 500
    clock.now += 601

    assert published.find("rsa") is not None


def test_without_any_keys_nobody_is_judged(keys: Keys) -> None:
    keys.status = 500
    token = jwt.encode(claims_of(USER), RSA_KEY, algorithm="RS256", headers={"kid": "rsa"})

    with pytest.raises(KeysUnavailable):
        verifier(PublishedKeys(keys.url)).verify(token)
