"""Sentences without end: the corpus, and sentences put together from word lists in several languages."""

from __future__ import annotations

import random

from benchmarks.captions.corpus import Deck

_NAMES = (
    "Anna", "Maria", "Tom", "Lucas", "Priya", "Omar", "Sofia", "Dr. Weber", "Mrs. Chen", "Pedro", "Ingrid",
    "Yusuf", "Clara", "Mateo",
    "Nadia", "Hugo", "Amelia", "Igor",
)  # fmt: skip
_PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "en": (
        ("I think", "You know,", "Honestly,", "Last year", "After lunch", "So today", "Well,", "In {year}", "Maybe",
         "-"),
        ("{name} found", "we built", "they sold", "my sister lost", "nobody saw", "{name} wants", "you should try",
         "I almost forgot", "the team tested", "everyone loves"),
        ("the blue key", "{number} new houses", "a better way", "this old camera", "three kinds of tea",
         "the last train",
         "a quiet street", "its first real test", "the whole story", "{number}% of it", "our little secret"),
        ("near the river.", "before the storm!", "without any help.", "in less than {number} minutes.",
         "again and again...",
         "for the first time?", "on purpose.", "at the end of March.", "and it worked.", "-."),
    ),
    "es": (
        ("Creo que", "Mira,", "Hoy", "El año pasado", "Quizá", "En {year}", "-"),
        ("{name} encontró", "compramos", "mi hermano perdió", "nadie vio", "ustedes quieren", "construimos"),
        ("la llave azul", "{number} casas nuevas", "una cámara antigua", "el último tren", "el camión pequeño",
         "toda la canción"),
        ("cerca del río.", "sin ninguna ayuda.", "en menos de {number} minutos.", "otra vez...",
         "el próximo miércoles."),
    ),
    "fr": (
        ("Je crois que", "Écoute,", "Aujourd'hui", "L'année dernière", "Peut-être que", "-"),
        ("{name} a trouvé", "nous avons vendu", "ma sœur a perdu", "personne n'a vu", "ils ont choisi"),
        ("la clé bleue", "{number} maisons neuves", "un vieil appareil", "le dernier train", "cette forêt", "ça"),
        ("près de la rivière.", "sans aucune aide.", "en {number} minutes.", "à la fin de l'été.",
         "encore une fois..."),
    ),
    "de": (
        ("Ich glaube,", "Hör mal,", "Heute", "Im Jahr {year}", "Vielleicht", "Übrigens,"),
        ("{name} fand", "wir bauten", "meine Schwester verlor", "niemand sah", "die Gruppe prüfte"),
        ("den blauen Schlüssel", "{number} neue Häuser", "eine alte Kamera", "den letzten Zug", "die ganze Straße"),
        ("am Fluss.", "ohne Hilfe.", "in weniger als {number} Minuten.", "zum ersten Mal.", "kurz vor Weihnachten!"),
    ),
}  # fmt: skip
LANGUAGES = (*_PARTS, "zh")


class Sentences:
    """Draws sentences of a language; the same seed draws the same ones."""

    def __init__(self, language: str, rng: random.Random) -> None:
        self.language = language
        self._rng = rng
        self._deck = Deck(language, rng) if language in ("en", "es", "zh") else None

    def sentence(self) -> str:
        """Return a sentence of about 10 to 70 characters (Chinese: 4 to 25)."""
        if self._deck is not None and (self.language == "zh" or self._rng.random() < 0.4):
            return self._deck.sentence()
        chosen = [self._rng.choice(options) for options in _PARTS[self.language]]
        text = " ".join(part for part in chosen if not part.startswith("-"))
        text = text.format(
            name=self._rng.choice(_NAMES),
            number=self._rng.randint(2, 98),
            year=self._rng.randint(1950, 2025),
        )
        text = text if text[-1] in ".!?" else text + "."
        return text[0].upper() + text[1:]

    def words(self) -> list[str]:
        """Return the words of a sentence; of Chinese one to three characters each, without its punctuation."""
        text = self.sentence()
        if self.language != "zh":
            return text.split()
        letters = [letter for letter in text if letter not in "，。？！：、…“”"]
        words: list[str] = []
        while letters:
            count = self._rng.randint(1, 3)
            words.append("".join(letters[:count]))
            letters = letters[count:]
        return words


def join_words(words: list[str], language: str) -> str:
    """Return words as text: with spaces, in Chinese without."""
    return ("" if language == "zh" else " ").join(words)


NAMES = (
    "Dr. Helen Ortega", "James Whitfield", "Amina Diallo", "Prof. Lars Nyberg", "Sofia Marchetti", "Ravi Menon",
    "Claire Dubois",
    "Tomasz Zielinski", "Grace Okafor", "Daniel Reyes",
)  # fmt: skip
ROLES = (
    "Marine biologist", "Head of Research, Novalab", "Mayor of Westbridge", "Student", "Author of 'Quiet Cities'",
    "CEO & Founder",
    "Eyewitness", "Product Manager", "Guitarist", "Reporting from Lisbon",
)  # fmt: skip
TITLES = (
    "THE LONG WAY HOME", "Chapter 3", "How Batteries Work", "Episode 12", "Part Two: The Harbor", "10 THINGS TO KNOW",
    "Morning Routine",
    "Introduction", "What Is Entropy?", "THE FINAL ROUND",
)  # fmt: skip
HEADLINES = (
    "CITY COUNCIL VOTES ON NEW TRAM LINE", "STORM WARNING FOR THE NORTH COAST", "MARKETS CLOSE HIGHER",
    "LIVE: PRESS CONFERENCE",
    "TEAM WINS 3-1 AWAY FROM HOME",
)  # fmt: skip
MARKS = ("@nightowl", "KANAL 5", "clipforge.example", "NEWS 24", "@sam.travels", "PREVIEW", "HD", "LIVE", "studio nord")
SIGNS = ("HOTEL", "EXIT", "CAFE 24H", "NO PARKING", "BUS STOP", "MARKET", "GATE 7", "Bakery", "FOR SALE", "PLATFORM 2")
END_CARDS = (
    "Thanks for watching!", "SUBSCRIBE", "See you next week", "www.studio-nord.example", "Follow for part 2", "THE END",
    "More at clipforge.example",
)  # fmt: skip
CREDITS = (
    "Directed by", "Written by", "Music", "Camera", "Sound", "Editing", "Production Assistant", "With thanks to",
    "Color", "Catering",
)  # fmt: skip
BULLETS = (
    "Energy is conserved in a closed system", "Step 1: collect the samples", "Costs fell by 18% in 2021",
    "Open questions",
    "Compare both groups", "Light travels at 299,792 km/s", "Why does it matter?", "Results after 12 weeks",
    "Set x = 4 and solve",
    "Never mix the two", "Homework: pages 40 to 52",
)  # fmt: skip
CHARTS = ("Revenue by quarter", "Visitors per month", "Energy mix, %", "Population")
CODE = """import math

def area(radius):
    # the area of a circle
    return math.pi * radius ** 2

class Shape:
    def __init__(self, name, sides=0):
        self.name = name
        self.sides = sides

    def describe(self):
        return f"{self.name} has {self.sides} sides"

const total = items.reduce((a, b) => a + b, 0);
for (let i = 0; i < rows.length; i++) {
  console.log(rows[i].id, rows[i].title);
}

SELECT name, count(*) FROM orders
WHERE created_at > '2021-04-01'
GROUP BY name ORDER BY 2 DESC;

if __name__ == "__main__":
    shapes = [Shape("square", 4), Shape("circle")]
    for shape in shapes:
        print(shape.describe())

fn main() -> Result<(), Error> {
    let config = Config::load("app.toml")?;
    println!("{} workers", config.workers);
    Ok(())
}

<div class="card">
  <h2>{title}</h2>
  <button onclick="save()">Save</button>
</div>

npm install --save-dev typescript
git commit -m "Fix the parser"
docker run -p 8080:80 web:latest
""".splitlines()
