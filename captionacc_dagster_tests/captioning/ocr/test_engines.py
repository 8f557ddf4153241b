"""Engines find and read lines; the offline one on drawn text, Google Vision's on answers as its service gives them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from captionacc_dagster.captioning.geometry import BBox
from captionacc_dagster.captioning.ocr import onnx_session
from captionacc_dagster.captioning.ocr import rapidocr as rapidocr_engine
from captionacc_dagster.captioning.ocr.base import OcrError, cut_line, line_box
from captionacc_dagster.captioning.ocr.engines import create_engine
from captionacc_dagster.captioning.ocr.google_vision import GoogleVisionEngine
from captionacc_dagster.captioning.ocr.rapidocr import _with_lost_notes, _with_lost_spaces
from captionacc_dagster_tests.captioning.drawn_clips import flat, moving, write_text

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def engine():
    return create_engine(threads=1)


def test_lines_are_found_and_read_where_they_stand(engine):
    picture = moving(1280, 720)(0)
    truth = {
        "Nothing stays the same": write_text(picture, "Nothing stays the same", (0.5, 0.9), 44),
        "CHANNEL 7": write_text(picture, "CHANNEL 7", (0.88, 0.08), 34),
    }
    found = {box.text: box for box in engine.read(picture)}
    assert set(found) == set(truth)
    for text, box in truth.items():
        assert found[text].confidence > 0.9
        assert found[text].bbox.as_tuple() == pytest.approx(box, abs=0.02)


@pytest.mark.parametrize("size", [20, 26, 60])
def test_text_from_three_to_eight_percent_of_the_height_is_found(engine, size: int):
    picture = moving(1280, 720)(3)
    box = write_text(picture, "We leave before the sun comes up", (0.5, 0.85), size)
    lines = engine.detect(picture)
    assert len(lines) == 1
    assert lines[0].bbox.as_tuple() == pytest.approx(box, abs=0.025)
    assert engine.recognize([cut_line(picture, lines[0])])[0].text == "We leave before the sun comes up"


def test_a_located_line_is_read_with_a_confidence_for_each_character(engine):
    picture = flat(60, 400, 60)
    write_text(picture, "Stay here, Tom!", (0.5, 0.5), 34)
    (line,) = engine.recognize([picture])
    assert line.text == "Stay here, Tom!"
    assert len(line.characters) == len(line.positions) == len(line.text)
    assert np.mean(line.characters) == pytest.approx(line.confidence, abs=0.02)
    assert list(line.positions) == sorted(line.positions)
    assert line.positions[0] < 0.35 < 0.65 < line.positions[-1]


def test_a_recognizer_whose_last_step_cannot_be_left_out_reads_the_same(
    engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    picture = flat(60, 400, 60)
    write_text(picture, "Stay here, Tom!", (0.5, 0.5), 34)
    (wanted,) = engine.recognize([picture])
    content = (rapidocr_engine._model_folder() / rapidocr_engine._RECOGNIZER).read_bytes()
    model = onnx_session._parse(content)
    (output,) = model.graph.output
    model.graph.node.add(op_type="Identity", input=[output.name], output=["last"])
    output.name = "last"
    other = tmp_path / "other.onnx"
    other.write_bytes(model.SerializeToString())
    monkeypatch.setattr(rapidocr_engine, "_RECOGNIZER", str(other))
    assert not rapidocr_engine._recognizer(1, None).gives_scores
    (read,) = engine.recognize([picture])
    assert read.text == wanted.text
    assert read.characters == pytest.approx(wanted.characters, abs=1e-4)


def test_a_picture_in_grays_is_found_and_read_as_the_same_one_in_colors(engine):
    picture = flat(60, 640, 128)
    write_text(picture, "Stay here, Tom!", (0.5, 0.5), 34)
    column = flat(40, 44, 240)
    for number, letter in enumerate("HOTEL"):
        write_text(column, letter, (0.5, 0.2 * number + 0.1), 36)
    grays = [picture[..., 0].copy(), column[..., 0].copy()]
    assert engine.recognize(grays) == engine.recognize([np.repeat(gray[..., None], 3, axis=2) for gray in grays])
    assert engine.detect(grays[0]) == engine.detect(np.repeat(grays[0][..., None], 3, axis=2))
    assert [box.text for box in engine.read(grays[0])] == ["Stay here, Tom!"]


def test_lines_of_any_shape_come_back_in_order(engine):
    words = ["a", "Go on.", "A much longer line than the others are", "No"]
    pictures = []
    for number, word in enumerate(words):
        picture = flat(40, 60 + 22 * len(word), 40 + 10 * number)
        write_text(picture, word, (0.5, 0.5), 28)
        pictures.append(picture)
    assert [line.text for line in engine.recognize(pictures)] == words
    assert engine.recognize([]) == []


def test_an_empty_picture_has_no_lines_and_an_empty_line_no_text(engine):
    assert engine.read(flat(90, 640, 360)) == []
    assert engine.detect(flat(90, 16, 8)) == []
    assert engine.recognize([flat(90, 200, 40)])[0].confidence < 0.9


def test_doubtful_readings_have_a_low_confidence(engine):
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (48, 300, 3), dtype=np.uint8)
    clear = flat(40, 300, 48)
    write_text(clear, "Plain to see", (0.5, 0.5), 30)
    noisy, plain = engine.recognize([noise, clear])
    assert noisy.confidence < 0.7 < 0.95 < plain.confidence


@pytest.mark.parametrize("margin", [0, 8, 14])
def test_a_column_of_upright_characters_is_read_downwards(engine, margin: int):
    column = flat(40, 44 + 2 * margin, 240 + 2 * margin)
    for number, letter in enumerate("HOTEL"):
        write_text(column, letter, (0.5, (margin + 48 * (number + 0.5)) / (240 + 2 * margin)), 36)
    assert engine.recognize([column])[0].text == "HOTEL"


@pytest.mark.parametrize("letter", ["1", "!"])
def test_a_single_narrow_character_is_no_column(engine, letter: str):
    picture = flat(40, 24, 60)
    write_text(picture, letter, (0.5, 0.5), 44)
    assert engine.recognize([picture])[0].text == letter


def test_a_slanted_line_is_cut_upright(engine):
    import cv2

    picture = flat(40, 640, 360)
    write_text(picture, "Slightly out of level", (0.5, 0.5), 34)
    turn = cv2.getRotationMatrix2D((320, 180), 9, 1.0)
    slanted = np.asarray(cv2.warpAffine(picture, turn, (640, 360), borderValue=(40, 40, 40)), np.uint8)
    (line,) = engine.detect(slanted)
    cut = cut_line(slanted, line)
    assert cut.shape[0] < 70
    assert engine.recognize([cut])[0].text == "Slightly out of level"


def test_a_level_line_is_cut_out_exactly():
    picture = np.arange(100 * 200 * 3, dtype=np.uint32).reshape(100, 200, 3).astype(np.uint8)
    cut = cut_line(picture, line_box(BBox(0.1, 0.2, 0.6, 0.5), 1.0))
    assert np.array_equal(cut, picture[20:50, 20:120])


def test_models_are_loaded_once_for_all_engines(engine):
    engine.load()
    loaded = rapidocr_engine._load.cache_info().misses
    other = create_engine(threads=1)
    other.read(flat(90, 64, 64))
    assert rapidocr_engine._load.cache_info().misses == loaded


def test_nothing_is_loaded_before_it_is_used_and_nothing_is_printed():
    code = (
        "import sys, numpy as np\n"
        "from captionacc_dagster.captioning.ocr.engines import create_engine\n"
        "engine = create_engine()\n"
        "heavy = [name for name in ('onnxruntime', 'cv2', 'rapidocr', 'av') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        "engine.read(np.zeros((64, 64, 3), np.uint8))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unknown_engines_and_settings_are_refused():
    with pytest.raises(ValueError, match="no OCR engine named 'tesseract'; there are rapidocr, google_vision"):
        create_engine("tesseract")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        create_engine(threads=0)
    with pytest.raises(ValueError, match="no language 'klingon'; there are af, ar, "):
        create_engine(lang="klingon")


@pytest.mark.parametrize("lang", ["en", "es", "zh", "ch", "ja", "en,zh-TW"])
def test_languages_of_the_wheel_need_nothing_else(lang: str):
    picture = flat(40, 200, 60)
    write_text(picture, "Hola", (0.5, 0.5), 34)
    assert create_engine(threads=1, lang=lang).recognize([picture])[0].text == "Hola"


# --- Google Vision ---------------------------------------------------------------------------------------------


def symbol(text: str, pause: int = 0, confidence: float = 0.9) -> SimpleNamespace:
    detected = SimpleNamespace(detected_break=SimpleNamespace(type_=pause))
    return SimpleNamespace(text=text, confidence=confidence, property=detected)


def word(text: str, box: tuple[int, int, int, int], pause: int = 0) -> SimpleNamespace:
    x0, y0, x1, y1 = box
    corners = [SimpleNamespace(x=x, y=y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    symbols = [symbol(letter) for letter in text[:-1]] + [symbol(text[-1], pause)]
    return SimpleNamespace(symbols=symbols, bounding_box=SimpleNamespace(vertices=corners))


def answer(words: list[SimpleNamespace], error: str = "") -> SimpleNamespace:
    paragraphs = [SimpleNamespace(words=words)]
    pages = [SimpleNamespace(blocks=[SimpleNamespace(paragraphs=paragraphs)])]
    annotation = SimpleNamespace(pages=pages if words else [])
    return SimpleNamespace(error=SimpleNamespace(message=error), full_text_annotation=annotation)


class Service:
    """Takes the place of Google's client: takes its requests, returns answers of its shape."""

    def __init__(self, *answers: SimpleNamespace) -> None:
        self.answers = list(answers)
        self.requests: list[list[dict]] = []

    def batch_annotate_images(self, requests: list[dict]) -> SimpleNamespace:
        self.requests.append(requests)
        taken, self.answers = self.answers[: len(requests)], self.answers[len(requests) :]
        return SimpleNamespace(responses=taken)


def test_google_vision_gives_lines_with_boxes():
    words = [word("Good", (20, 80, 60, 95), 1), word("day", (64, 80, 90, 96), 5), word("再见", (30, 10, 70, 30), 5)]
    service = Service(answer(words))
    boxes = GoogleVisionEngine(client=service, languages=["en"]).read(flat(40, 200, 100))
    assert [box.text for box in boxes] == ["Good day", "再见"]
    assert boxes[0].bbox.as_tuple() == pytest.approx((0.1, 0.8, 0.45, 0.96))
    assert boxes[0].confidence == pytest.approx(0.9)
    (request,) = service.requests[0]
    assert request["image"]["content"].startswith(b"\x89PNG")
    assert request["image_context"] == {"language_hints": ["en"]}


def test_google_vision_is_sent_pictures_as_they_are():
    import cv2

    colors = np.random.default_rng(3).integers(0, 256, (20, 50, 3), dtype=np.uint8)
    service = Service(answer([]), answer([]))
    GoogleVisionEngine(client=service).recognize([colors, colors[..., 1].copy()])
    sent = [np.frombuffer(request["image"]["content"], np.uint8) for request in service.requests[0]]
    in_colors, in_grays = (np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED)) for content in sent)
    assert np.array_equal(in_colors[..., ::-1], colors)
    assert np.array_equal(in_grays, colors[..., 1])


def test_google_vision_reads_lines_sixteen_at_a_time():
    service = Service(*[answer([word(f"n{number}", (0, 0, 9, 9), 5)]) for number in range(17)], answer([]))
    lines = GoogleVisionEngine(client=service).recognize([flat(40, 50, 20)] * 18)
    assert [line.text for line in lines] == [f"n{number}" for number in range(17)] + [""]
    assert lines[-1].confidence == 0.0
    assert [len(requests) for requests in service.requests] == [16, 2]


def test_google_vision_says_what_went_wrong():
    with pytest.raises(OcrError, match=r"^Google Vision refused an image: quota exceeded$"):
        GoogleVisionEngine(client=Service(answer([], "quota exceeded"))).read(flat(40))

    class Down:
        def batch_annotate_images(self, requests: list[dict]) -> None:
            raise RuntimeError("no route to host\nmore")

    with pytest.raises(OcrError, match=r"^Google Vision failed: no route to host$"):
        GoogleVisionEngine(client=Down()).read(flat(40))


def test_google_vision_without_its_extra_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['google.cloud.vision'] = None\n"
        "from captionacc_dagster.captioning.ocr.base import OcrError\n"
        "from captionacc_dagster.captioning.ocr.engines import create_engine\n"
        "try:\n"
        "    create_engine('google_vision')\n"
        "except OcrError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    expected = "the Google Vision engine is not installed: pip install 'captionacc-dagster[google-vision]'\n"
    assert done.stdout == expected


def _with_notes(text: str, **chances: float) -> str:
    """Return a text with one letter a step after notes were put in; the chances of ♪ at some steps."""
    read = [(symbol, 0.9, float(step + 2)) for step, symbol in enumerate(text) if symbol != "_"]
    odds = np.full((len(text) + 4, 2), np.log(1e-6), np.float32)
    for place, chance in chances.items():
        odds[{"before": 0, "first": 2, "last": len(text) + 1, "after": len(text) + 3}[place], 0] = np.log(chance)
    return "".join(symbol for symbol, _, _ in _with_lost_notes(read, odds, "♪♫"))


@pytest.mark.parametrize(
    ("text", "chances", "read"),
    [
        ("Sing", {"before": 0.02}, "♪ Sing"),
        (" Sing ", {"before": 0.02, "after": 0.001}, "♪ Sing ♪"),
        ("Sing", {"after": 0.0001}, "Sing"),
        ("obey J", {"last": 0.28}, "obey ♪"),
        ("J obey", {"first": 0.28}, "♪ obey"),
        ("obey J", {"last": 0.001}, "obey J"),
        ("obeyJ", {"last": 0.28}, "obeyJ"),
        (" ", {"before": 0.5}, " "),
    ],
)
def test_notes_beside_the_letters_of_a_line_are_read(text: str, chances: dict[str, float], read: str):
    assert _with_notes(text, **chances) == read


@pytest.mark.parametrize(
    ("letters", "steps", "chance", "read"),
    [
        ("li", 2, 0.2, "li"),  # narrow letters of one word: l and i of "lift"
        ("11", 3, 0.05, "11"),
        ("li", 4, 0.1, "l i"),
        ("to", 7, 0.01, "t o"),
        ("Ih", 3, 0.05, "I h"),
        ("lh", 3, 0.05, "lh"),
        ("d.", 3, 0.4, "d."),
        ("一二", 7, 0.5, "一二"),
    ],
)
def test_a_space_that_is_half_seen_is_one_where_the_letters_are_far_apart(
    letters: str, steps: int, chance: float, read: str
):
    before, after = letters
    spaces = np.zeros(steps + 1, np.float32)
    spaces[steps // 2] = chance
    found = _with_lost_spaces([(before, 0.9, 0.0), (after, 0.9, float(steps))], spaces)
    assert "".join(symbol for symbol, _, _ in found) == read


@pytest.mark.parametrize(("read", "said"), [("at|this", "at this"), ("| at", "| at"), ("at |", "at |"), ("1|2", "1|2")])
def test_a_bar_within_a_word_is_the_edge_of_something_between_two(read: str, said: str):
    letters = [(symbol, 0.9, float(step)) for step, symbol in enumerate(read)]
    found = _with_lost_spaces(letters, np.zeros(len(read), np.float32))
    assert "".join(symbol for symbol, _, _ in found) == said
