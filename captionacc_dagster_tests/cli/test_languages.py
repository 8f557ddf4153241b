"""``captionacc languages``, ``--lang``, and what is said of captions that no engine reads."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from rich.console import Console
from typer.testing import CliRunner

from captionacc_dagster.backends import open_compute
from captionacc_dagster.captioning.captions import Cue
from captionacc_dagster.captioning.ocr import model_files, tesseract
from captionacc_dagster.captioning.ocr.languages import UnknownLanguageError
from captionacc_dagster.captioning.ocr.model_files import model_name
from captionacc_dagster.cli.app import app
from captionacc_dagster.cli.errors import ProcessError
from captionacc_dagster.cli.languages import add_language, languages_table, unread_message
from captionacc_dagster.compute.base import ComputeMisconfigured
from captionacc_dagster.resources import ComputeResource
from captionacc_dagster.settings import Settings, get_settings

pytestmark = pytest.mark.unit


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings on a machine without Tesseract's data."""
    monkeypatch.setattr(tesseract, "_FOLDERS", (str(tmp_path / "none"),))
    monkeypatch.delenv("TESSDATA_PREFIX", raising=False)
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path))
    return Settings(home=tmp_path)


def unread(count: int, script: str | None, lang: str | None = None) -> list[Cue]:
    return [Cue(start_s=at, end_s=at + 1, text="", script=script, lang=lang, unread=True) for at in range(count)]


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["process", "no.mp4", "--lang", "hi,klingon"], "--lang"),
        (["upload", "no.mp4", "--lang", "klingon"], "--lang"),
        (["languages", "add", "klingon"], "CODE"),
    ],
)
def test_an_unknown_language_is_wrong_usage(command: list[str], option: str):
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert f"{option}: no language 'klingon'; there are af, ar" in " ".join(result.output.split())
    assert "no.mp4" not in result.output


def test_the_table_says_what_reads_each_language_or_what_to_run(bare: Settings):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(languages_table(bare))
    rows = {line.split()[1]: line for line in console.export_text().splitlines() if line.startswith("│")}
    assert "PP-OCRv6 (in the package)" in rows["en"]
    assert "captionacc languages add tr" in rows["tr"]
    assert "not ready: captionacc languages add ko" in rows["ko"]
    assert "Devanagari" in rows["hi"]


def test_adding_a_language_fetches_its_model_once(bare: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    source = tmp_path / "source.onnx"
    source.write_bytes(b"a model")
    digest = hashlib.sha256(b"a model").hexdigest()
    monkeypatch.setattr(
        model_files, "_entry", lambda listed, key: {"model_dir": source.as_uri(), "SHA256": digest.upper()}
    )
    quiet = Console(quiet=True)
    path = bare.models_dir / model_name("korean")
    assert add_language(bare, "ko", quiet) == f"Korean is ready: {path}"
    assert path.read_bytes() == b"a model"
    assert add_language(bare, "ko", quiet) == "Korean is ready: PP-OCRv5 (fetched)"


def test_what_a_person_has_to_install_is_said(bare: Settings, monkeypatch: pytest.MonkeyPatch):
    quiet = Console(quiet=True)
    with pytest.raises(ProcessError, match=r"Hebrew is read by Tesseract, .*apt-get install tesseract-ocr-heb"):
        add_language(bare, "he", quiet)
    with pytest.raises(ProcessError, match=r"Czech is read by .* ď .*\. Tesseract .*apt-get install tesseract-ocr-ces"):
        add_language(bare, "cs", quiet)
    missing = {"model_dir": "http://127.0.0.1:9/korean.onnx", "SHA256": "0" * 64}
    monkeypatch.setattr(model_files, "_entry", lambda listed, key: missing)
    with pytest.raises(ProcessError, match=r"cannot be fetched .*apt-get install tesseract-ocr-kor"):
        add_language(bare, "ko", quiet)
    with pytest.raises(UnknownLanguageError, match="no language 'xx'"):
        add_language(bare, "xx", quiet)


def test_unread_captions_are_said_with_what_to_run():
    assert unread_message([Cue(start_s=0, end_s=1, text="Hi")], "a.mp4") is None
    assert unread_message(unread(12, "Hang"), "a.mp4") == (
        "a.mp4: 12 captions in Korean could not be read: `captionacc languages add ko`, "
        "then `captionacc process --again --only text a.mp4`."
    )
    vietnamese = unread_message(unread(1, "Latn", "vi"), "a.mp4")
    assert vietnamese is not None
    assert "1 caption in Latin could not be read: `captionacc languages add vi`" in vietnamese
    other = unread_message(unread(2, "Zzzz"), "a.mp4")
    assert other == "a.mp4: 2 captions in another script could not be read; see `captionacc languages`."


@pytest.mark.parametrize(
    ("of_video", "of_tenant", "of_settings", "used"),
    [("ko", "th", "ru", "(ko)"), (None, "th", "ru", "(th)"), (None, None, "ru", "(ru)")],
)
def test_a_run_reads_in_the_language_of_its_video_its_tenant_or_the_settings(
    of_video: str | None,
    of_tenant: str | None,
    of_settings: str,
    used: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path))
    monkeypatch.setenv("CAPTIONACC_OCR_LANGUAGE", of_settings)
    get_settings.cache_clear()
    video = uuid4()
    catalog = SimpleNamespace(
        get_video_metadata=lambda key: SimpleNamespace(lang=of_video if key == video else "?", tenant_id="tenant"),
        get_tenant=lambda tenant: SimpleNamespace(lang=of_tenant),
    )
    context = SimpleNamespace(
        run=SimpleNamespace(tags={"dagster/partition": str(video)}, run_id="run"),
        log=None,
    )
    try:
        resource = ComputeResource.model_construct(catalog=catalog, store=None)
        compute = cast("Any", resource.create_resource(cast("Any", context)))
        assert compute._backend._engine.name.endswith(used)
    finally:
        get_settings.cache_clear()


def test_an_unknown_language_in_the_settings_is_named(tmp_path: Path):
    settings = Settings(home=tmp_path, ocr_language="klingon")
    with pytest.raises(ComputeMisconfigured, match="CAPTIONACC_OCR_LANGUAGE: no language 'klingon'; there are af"):
        open_compute(cast("Any", None), cast("Any", None), settings)
