"""Print how many lines, and tracks of lines, are classified right on fonts held out from training; needs no torch."""

from __future__ import annotations

import argparse
import random
from collections import Counter

from captionacc_dagster.captioning.ocr.script_classifier import ScriptGuess, classify_script, combined_guess
from training.script_classifier.lines import draw_line
from training.script_classifier.texts import CLASSES

FIRST_SEED = 26_000_000  # used neither for training nor while choosing parameters


def _class_of(guess: ScriptGuess) -> str:
    return "Latn-vi" if guess.lang == "vi" else guess.script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=60, help="lines drawn of each class")
    parser.add_argument("--tracks", type=int, default=200, help="tracks of each class and length")
    options = parser.parse_args()
    wrong: Counter[tuple[str, str]] = Counter()
    totals: Counter[str] = Counter()
    print("class     line   3 lines   6 lines")
    for at, name in enumerate(CLASSES):
        seeds = range(FIRST_SEED + at, FIRST_SEED + at + len(CLASSES) * options.lines, len(CLASSES))
        guesses = classify_script([draw_line(name, seed, held_out=True) for seed in seeds])
        wrong.update((name, _class_of(guess)) for guess in guesses if _class_of(guess) != name)
        right = {"line": sum(_class_of(guess) == name for guess in guesses)}
        rng = random.Random(at)
        for count in (3, 6):
            tracks = [combined_guess(rng.sample(guesses, count)) for _ in range(options.tracks)]
            right[str(count)] = sum(_class_of(track) == name for track in tracks)
        totals.update(right)
        lines, tracks_of = options.lines, options.tracks
        shown = (right["line"] / lines, right["3"] / tracks_of, right["6"] / tracks_of)
        print(f"{name:8}" + "".join(f"{value:8.3f}" for value in shown), flush=True)
    lines, tracks_of = len(CLASSES) * options.lines, len(CLASSES) * options.tracks
    shown = (totals["line"] / lines, totals["3"] / tracks_of, totals["6"] / tracks_of)
    print("all     " + "".join(f"{value:8.3f}" for value in shown))
    print("taken for another: " + ", ".join(f"{a} for {b} {n}" for (a, b), n in wrong.most_common(12)))


if __name__ == "__main__":
    main()
