"""Who may read the metrics: whoever has the token; without one this machine alone, and only the embedded system."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from captionacc_dagster.api.local_access import local_key
from captionacc_dagster.settings import Settings
from captionacc_dagster_tests.api.world import World
from captionacc_dagster_tests.observability.conftest import TOKEN, MakeScraper

pytestmark = [pytest.mark.integration, pytest.mark.observability, pytest.mark.security]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
    ],
)
def test_without_the_token_nothing_is_shown(make_scraper: MakeScraper, world: World, headers: dict[str, str]) -> None:
    scraper = make_scraper()
    answer = scraper.client.get("/metrics", headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "captionacc_" not in answer.text
    assert world.events() == ["metrics_bad_token"]


def test_a_loopback_address_does_not_replace_the_token(make_scraper: MakeScraper) -> None:
    scraper = make_scraper(address="127.0.0.1", base_url="http://127.0.0.1:8000")
    assert scraper.client.get("/metrics").status_code == 401


def test_a_persons_token_is_no_token_of_the_metrics(make_scraper: MakeScraper, world: World) -> None:
    owner = world.person(world.tenant())
    assert make_scraper().client.get("/metrics", headers=owner.headers).status_code == 401


def test_several_tokens_are_valid_during_a_rotation(make_scraper: MakeScraper) -> None:
    scraper = make_scraper(metrics_token=[SecretStr("the-next-token"), SecretStr(TOKEN)])
    for token in ("the-next-token", TOKEN):
        assert scraper.client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_who_tries_tokens_is_stopped_and_the_right_one_still_works(make_scraper: MakeScraper) -> None:
    scraper = make_scraper(rate_limit_failures="2/minute")
    wrong = {"Authorization": "Bearer wrong"}
    assert [scraper.client.get("/metrics", headers=wrong).status_code for _ in range(3)] == [401, 401, 429]
    assert scraper.scrape().value("up", part="catalog") == 1


def test_without_a_token_a_served_catalog_is_shown_to_nobody(make_scraper: MakeScraper, world: World) -> None:
    scraper = make_scraper(address="127.0.0.1", base_url="http://127.0.0.1:8000", metrics_token=[])
    answer = scraper.client.get("/metrics")
    assert answer.status_code == 403
    assert answer.json() == {"detail": "metrics need a token: set CAPTIONACC_METRICS_TOKEN"}
    assert world.events() == ["metrics_refused"]


@pytest.mark.parametrize("address", ["127.0.0.1", "203.0.113.7"])
def test_without_a_configured_token_the_embedded_systems_own_is_needed(
    make_scraper: MakeScraper, settings: Settings, embedded_home: Path, address: str
) -> None:
    embedded = {"metrics_token": [], "database_url": None, "home": embedded_home}
    scraper = make_scraper(address=address, base_url="http://127.0.0.1:8000", **embedded)
    own = settings.model_copy(update=embedded)

    def status(key: str | None) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return scraper.client.get("/metrics", headers=headers).status_code

    # Being on this machine is no credential: a proxy on it brings everybody.
    assert status(None) == 401
    assert status(local_key(own, "sign-in")) == 401
    assert status(local_key(own, "metrics")) == 200


@pytest.fixture(scope="module")
def embedded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose embedded Postgres cannot start, which takes no time: only who is let in matters here."""
    home = tmp_path_factory.mktemp("home")
    (home / "postgres").write_text("in the way")
    return home


def test_the_token_is_never_written(
    make_scraper: MakeScraper, world: World, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scraper = make_scraper()
    scraper.scrape()
    scraper.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}-but-wrong"})
    entries = world.catalog.list_security_events().items
    assert len(entries) == 1
    for text in (caplog.text, repr(settings), str(settings), repr(entries), scraper.scrape().text):
        assert TOKEN not in text
