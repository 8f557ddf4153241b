"""A person's browser, as far as the pages see it: cookies, forms and the page's own token."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from fastapi.testclient import TestClient

from captionacc_dagster_tests.api.world import Person


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', page)
    assert found
    return found.group(1)


def post_form(client: TestClient, path: str, headers: dict[str, str] | None = None, /, **fields: str) -> Any:
    return client.post(
        path,
        content=urlencode(fields),
        headers={"Content-Type": "application/x-www-form-urlencoded", **(headers or {})},
        follow_redirects=False,
    )


def sign_in(client: TestClient, token: str, *, next: str = "") -> Any:
    csrf = csrf_of(client.get("/review/sign-in").text)
    return post_form(client, "/review/sign-in", csrf=csrf, access_token=token, next=next)


def set_session(client: TestClient, token: str) -> None:
    """Put another token into the cookie that the browser already has."""
    cookie = next(cookie for cookie in client.cookies.jar if cookie.name == "captionacc_session")
    cookie.value = token


class PageBrowser:
    """A person's browser: it keeps cookies and knows the page's token."""

    def __init__(self, client: TestClient, person: Person) -> None:
        self.client = client
        self.person = person
        assert sign_in(client, person.token).status_code == 303
        self.csrf = csrf_of(client.get("/review").text)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers, follow_redirects=False)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        return self.client.request(method, path, json=body, headers={"X-CSRF-Token": self.csrf, **headers})
