"""Made-up lines of text in many scripts. No text of the benchmark is used: words are random letters of the script."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from functools import cache

_DIGITS = "0123456789"
_ENDS = ("", "", "", ",", ".", ".", "?", "!", "...", "…", ":")

# Letters by how often they occur in the languages of a script, roughly.
_ALPHABETS: dict[str, tuple[str, ...]] = {
    "Latn": (
        "eeeeeeeeettttttaaaaaaooooooiiiiinnnnnsssshhhhrrrrddddlllccuuummwwffggyyppbvkjxqz",
        "eeeeeeaaaaaooooosssnnnrrriiiilllddduuutttcccmmppbbgqvyhfzjñáéíóú",
        "eeeeeeennnnniiiissssrrrraaaatttddduuuhhhlllccgggmmooobbwwffkkzzppvßäöüj",
        "eeeeeeaaaasssiiiitttnnnnrrrruuuulllooodddcccpppmmvvqqéééèàçêôfbghjxûîù",
        "aaaaeeeeiiiinnnnrrrrlllıııkkkdddtttsssmmyyuuoobbüüşşzzggçğvöcphfj",
        "aaaaiiiieeeeoooozzzznnnnwwwrrrsssttkkdddppmmllccyyjjuuęąłółśżćńbghf",
        "eeeaaaooonnniiitttvvvlllssskkrrddmmppuuzzyyáíéčěřšžýůúbhcjňťď",
        "aaaaeeeennnniiiirrrrtttssslllddookkkggmmvvfuhpåäöjybcæø",
        "eeeeaaaaiiiiuuuurrrrttttnnnnllccsssdddmmooppăăâîșțvfbgzhjx",
    ),
    "Cyrl": (
        "оооооооеееееееаааааииииинннннттттссссррррввввллллкккмммдддпппууяяыыььггззббчййххжшюцщэфъё",
        "оооооаааааннннииииіііівввввттттееееррррссскккллллуудддммпппзззяяьььббггйччхцюєїжшщфґ",
        "аааааооооиииииееееннннттттррррсссвввлллккддпппмммззуугггъъббччщжцхйюшьф",
        "аааааиииииооооееееннннррррсссттјјкклллвввууддмммппззггбччљњђћхцжшфџѓќ",
    ),
    "Grek": ("αααααααοοοοοοιιιιιεεεεεττττττσσσσννννννηηηηυυυρρρπππκκκμμλλωωδδγγχχθθφφββξζψάέήίόύώάέίό",),
    "Hebr": ("ייייייווווווההההלללללאאאאתתתתררררמממממששששבבבננדדחחעעקקפפככגגטטססזזצצםןךףץ",),
    "Arab": (
        "اااااااالللللللننننمممممييييوووووررررتتتتبببهههدددعععسسسفففقققككحححججشششصصخخذذضضططززغغثثةةىىأأإآءئؤظ",
        "اااااااییییییرررررنننندددههههوووووممممتتتبببسسشششللکککگگززفففقخخجچپحعغصضطظذثآئژ",
        "اااااییییییکککررررنننںںسسسوووومممتتتہہہہےےےپپبببلللدددھھھگگجججچٹڑشقعحخزفضئآ",
    ),
    "Thai": ("",),
    "Deva": ("",),
    "Geor": ("აააააიიიიეეეოოუუნნრრლლსსმმდდთთვვბბგგშშხხქქკკწცჩჯჭზპტფღყძჟჰ",),
    "Armn": ("աաաաաաեեեենննննիիիրրրրոոոուուտտլլկկմմսսդդվվհհգգքբզյշթխծցչջղպփօֆռժճձ",),
}
_CAPITALIZED = {"Latn", "Cyrl", "Grek", "Armn"}

_INITIALS = ("", "b", "c", "ch", "d", "đ", "đ", "g", "gi", "h", "kh", "l", "m", "n", "ng", "nh", "ph", "qu", "r", "s",
             "t", "th", "tr", "v", "x", "k")  # fmt: skip
_RHYMES = ("a", "à", "an", "ang", "anh", "ao", "ai", "ay", "âu", "ây", "ân", "âm", "ă", "ăn", "ăng", "am", "ac", "at",
           "e", "em", "en", "ê", "ên", "êu", "iê", "iên", "iêu", "i", "in", "inh", "ia", "o", "oi", "on", "ong", "oan",
           "ô", "ôi", "ông", "ôn", "ơ", "ơi", "ơn", "u", "ui", "ung", "ua", "uôn", "uy", "uyên", "uê", "ư", "ưa", "ưng",
           "ươi", "ương", "ươn", "ưu", "y", "yêu")  # fmt: skip
_TONES = ("", "", "\u0300", "\u0301", "\u0309", "\u0303", "\u0323")  # none, grave, acute, hook, tilde, dot below


def _vietnamese_word(rng: random.Random) -> str:
    rhyme, tone = rng.choice(_RHYMES), rng.choice(_TONES)
    places = [at for at, letter in enumerate(rhyme) if unicodedata.normalize("NFD", letter)[0] in "aeiouy"]
    marked = [at for at in places if rhyme[at] in "âăêôơư"] or places
    at = marked[-1] if rhyme[-1] not in "aeiouy" else marked[0]
    return rng.choice(_INITIALS) + unicodedata.normalize("NFC", rhyme[: at + 1] + tone + rhyme[at + 1 :])


def _thai_word(rng: random.Random) -> str:
    consonants = "กกกขคคงงจชซดดตตทททนนนนบบปปผพพฟมมมยยรรรรลลววสสสหหหออฉธณศษภญฎฐ"
    word = ""
    for _ in range(rng.randint(1, 3)):
        first, tone = rng.choice(consonants), rng.choice(("", "", "", "่", "่", "้", "้", "๊", "๋", "์"))
        kind = rng.random()
        if kind < 0.25:
            word += rng.choice("เแโไใ") + first + tone + rng.choice(("", rng.choice(consonants)))
        elif kind < 0.6:
            word += first + rng.choice("ิีึืุูั็") + tone + rng.choice(("", rng.choice("นกงมยดบ")))
        else:
            word += first + tone + rng.choice(("า", "ะ", "ำ", "อ", "", "าน", "าง", "าย", "รร"))
    return word


def _indic(consonants: str, signs: str, vowels: str, halant: str, marks: str) -> Callable[[random.Random], str]:
    def word(rng: random.Random) -> str:
        letters = rng.choice(vowels) if rng.random() < 0.15 else ""
        for _ in range(rng.randint(1, 4)):
            letters += rng.choice(consonants)
            if rng.random() < 0.1:
                letters += halant + rng.choice(consonants)
            if rng.random() < 0.6:
                letters += rng.choice(signs)
            if marks and rng.random() < 0.08:
                letters += rng.choice(marks)
        return letters

    return word


_devanagari = _indic(
    "ककककखगगघचचछजजझटठडढणतततथददधननननपपफबबभमममययरररररलललववशषससससहहहहक्ष"[:-3], "ााााािििीीीेेेेोोोुूैौंं", "अआइईउएऐओऔ", "्", "ंँः़"
)
_INDIC_OTHERS = (
    _indic("কখগঘচছজঝটঠডঢণতথদধনপফবভমযরলশষসহ", "াাািীুূেেৈোৌ", "অআইঈউএও", "্", "ং"),
    _indic("கஙசஜஞடணதநபமயரலவழளறனஹ", "ாாிிீுுூெேைொோ்்்", "அஆஇஈஉஎஏஒஓ", "", ""),
    _indic("కఖగఘచఛజటఠడణతథదధనపఫబభమయరలవశషసహళ", "ాాిీుూెేైొో", "అఆఇఈఉఎఏఒ", "్", "ం"),
    _indic("ಕಖಗಘಚಛಜಟಠಡಣತಥದಧನಪಫಬಭಮಯರಲವಶಷಸಹಳ", "ಾಾಿೀುೂೆೇೈೊೋ", "ಅಆಇಈಉಎಏಒ", "್", "ಂ"),
    _indic("കഖഗഘചഛജടഠഡണതഥദധനപഫബഭമയരലവശഷസഹളഴറ", "ാാിീുൂെേൈ", "അആഇഈഉഎഏഒ", "്", "ം"),
    _indic("કખગઘચછજટઠડણતથદધનપફબભમયરલવશષસહ", "ાાિીુૂેૈોૌ", "અઆઇઈઉએઓ", "્", "ં"),
    _indic("កខគឃងចឆជញដឋឌណតថទធនបផពភមយរលវសហអ", "ាិីឹឺុូួើេែៃោៅ", "ឥឧឯ", "្", "ំ"),
    _indic("ကခဂငစဆဇညတထဒနပဖဗမယရလဝသဟအ", "ါာိီုူေဲ", "ဥဤ", "", "့းံ"),
)


@cache
def _level_one() -> str:
    """The 3755 most common simplified characters: the first level of GB 2312."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return "".join(code.decode("gb2312", "ignore") for code in codes)


@cache
def _traditional() -> str:
    """The 5401 most common traditional characters: the first level of Big5."""
    cells = [*range(0x40, 0x7F), *range(0xA1, 0xFF)]
    return "".join(bytes((row, cell)).decode("big5", "ignore") for row in range(0xA4, 0xC7) for cell in cells)


@cache
def _syllables() -> str:
    """The 2350 Hangul syllables of KS X 1001."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF))
    return "".join(code.decode("euc_kr", "ignore") for code in codes)


_FREQUENT_SYLLABLES = (
    "이다는에을가의고를지하한은사아로시나어기그도서자리있대일들라만스해정수거인면여것보었게내무우니네요까안습"
)
_KANA = (
    "ののののにににはははたたたをををがががででとととしししてててななるるるいいいい"
    "ままかかかからりりれっあこそもうくすんだよねおえけさせちつぬひふへほみむめやゆわ"
)
_KATAKANA = (
    "アイウエオカキクケコサシスセソタチツテトナニネノハヒフヘホマミムメモラ"
    "リルレロワンーーーッャュョガギグゲゴザジズゼゾダデドバビブベボパピプペポ"
)


def _ideographs(rng: random.Random) -> str:
    pool = _level_one() if rng.random() < 0.5 else _traditional()[:4500]
    line = "".join(rng.choice(pool) for _ in range(rng.randint(2, 16)))
    if rng.random() < 0.3 and len(line) > 5:
        at = rng.randint(2, len(line) - 2)
        line = line[:at] + rng.choice("，、 ：") + line[at:]
    return line + rng.choice(("", "", "", "，", "。", "？", "！", "…"))


def _japanese(rng: random.Random) -> str:
    line = ""
    for _ in range(rng.randint(1, 5)):
        kanji = "".join(rng.choice(_traditional()[:2500]) for _ in range(rng.randint(0, 2)))
        pool = _KATAKANA if rng.random() < 0.25 else _KANA
        line += kanji + "".join(rng.choice(pool) for _ in range(rng.randint(1, 5)))
    return line + rng.choice(("", "", "。", "？", "！", "…", "」"))


def _hangul_word(rng: random.Random) -> str:
    pool = _FREQUENT_SYLLABLES if rng.random() < 0.6 else _syllables()
    return "".join(rng.choice(pool if rng.random() < 0.7 else _syllables()) for _ in range(rng.randint(1, 5)))


def _alphabetic_word(script: str, rng: random.Random, alphabet: str) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 10))))


def _words(make: Callable[[random.Random], str], rng: random.Random, count: int, *, case: bool) -> list[str]:
    words = [make(rng) for _ in range(count)]
    if case:
        style = rng.random()
        if style < 0.22:
            words = [word.upper() for word in words]
        elif style < 0.35:
            words = [word.capitalize() for word in words]
        elif style < 0.8:
            words[0] = words[0].capitalize()
    return words


def _latin_words(rng: random.Random, count: int) -> list[str]:
    alphabet = rng.choice(_ALPHABETS["Latn"])
    return _words(lambda draw: _alphabetic_word("Latn", draw, alphabet), rng, count, case=True)


# The classes of the network; "Latn-vi" is Vietnamese, Zzzz any other script, Zxxx a picture without text.
CLASSES = ("Latn", "Latn-vi", "Cyrl", "Grek", "Hani", "Jpan", "Hang", "Arab", "Hebr", "Deva", "Thai", "Zzzz", "Zxxx")


def made_up_line(script: str, rng: random.Random) -> tuple[str, str]:
    """Return a line of a class and the key of `fonts` that has its letters."""
    count = rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 7))
    end = rng.choice(_ENDS)
    if script == "Hani":
        return _ideographs(rng), "zh"
    if script == "Jpan":
        return _japanese(rng), "ja"
    font = script
    if script == "Zzzz":
        choice = rng.randrange(len(_INDIC_OTHERS) + 2)
        if choice < len(_INDIC_OTHERS):
            make, font = _INDIC_OTHERS[choice], ("bn", "ta", "te", "kn", "ml", "gu", "km", "my")[choice]
        else:
            name = ("Geor", "Armn")[choice - len(_INDIC_OTHERS)]
            alphabet, font = _ALPHABETS[name][0], name
            make = lambda draw: _alphabetic_word(name, draw, alphabet)  # noqa: E731
    elif script in _ALPHABETS and _ALPHABETS[script][0]:
        alphabet = rng.choice(_ALPHABETS[script])
        make = lambda draw: _alphabetic_word(script, draw, alphabet)  # noqa: E731
    else:
        make = {"Latn-vi": _vietnamese_word, "Thai": _thai_word, "Deva": _devanagari, "Hang": _hangul_word}[script]
    if script == "Latn-vi":
        count = max(count, 2)
    words = _words(make, rng, count, case=script in _CAPITALIZED or script == "Latn-vi")
    if script == "Latn" and rng.random() < 0.1:
        words = [str(rng.randint(0, 9999)), rng.choice((":", "-", "%", "$", "/")), str(rng.randint(0, 99))]
    elif rng.random() < 0.12:
        words.insert(rng.randrange(len(words) + 1), str(rng.randint(0, 2030)))
    if script not in ("Latn", "Latn-vi") and rng.random() < 0.1 and count > 2:
        words.insert(rng.randrange(len(words) + 1), rng.choice(_latin_words(rng, 1)))
    separator = "" if script == "Thai" and rng.random() < 0.7 else " "
    line = separator.join(words)
    if script == "Latn" and rng.random() < 0.08:
        line = rng.choice("¡¿") + line
    if rng.random() < 0.1:
        line = rng.choice(('"{}"', "“{}”", "- {}", "({})", "♪ {}" if script == "Latn" else "- {}")).format(line)
    return line + ("।" if script == "Deva" and end == "." else end), font
