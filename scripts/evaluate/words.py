"""What can be said of a text without a model: its language, and what in it was invented."""

import re
import unicodedata

# The commonest words of a language that others do not share.
STOP_WORDS = {
    "en": "the and you your is are was were this that with have has for not we our it they be will of to from please",
    "de": "der die das und ist nicht sie wir ihr ihre ihnen ein eine einen mit für auf den dem von zu wird haben bitte",
    "fr": "le les des et est pas vous votre nous une dans pour avec sur qui que au aux du sont cette merci",
    "es": "el los las y es no su usted nosotros una para con por que del al se está este esta gracias",
    "it": "il gli e è non lei noi una per con che di del della sono questo questa grazie nel",
    "nl": "de het en is niet u uw wij een met voor op van dat te zijn wordt deze dit bedankt",
    "pt": "o os as e não você nós uma para com por que do da dos das está este esta obrigado",
}
SCRIPTS = {"ja": "\u3040-\u30ff", "ko": "\uac00-\ud7af", "zh": "\u4e00-\u9fff", "ru": "\u0400-\u04ff",
           "ar": "\u0600-\u06ff", "el": "\u0370-\u03ff", "he": "\u0590-\u05ff"}

COUNTS = {word: count for words in (
    "one two three four five six seven eight nine ten eleven twelve",
    "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "un deux trois quatre cinq six sept huit neuf dix onze douze",
    "uno dos tres cuatro cinco seis siete ocho nueve diez once doce",
) for count, word in enumerate(words.split(), 1)}
COUNTS |= {"ein": 1, "eine": 1, "einen": 1, "einem": 1, "une": 1, "una": 1, "twenty": 20, "thirty": 30, "ninety": 90}
MONTHS = {word: count for words in (
    "january february march april may june july august september october november december",
    "januar februar märz april mai juni juli august september oktober november dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
) for count, word in enumerate(words.split(), 1)}
SPANS = (r"(?:(?:business|working|full|whole|calendar)\s+)?(?:minute|hour|day|week|month|year|tag|werktag|woche|monat|"
         r"stunde|jahr|jour|semaine|mois|heure|día|semana|mes|hora|año|percent|prozent|euro)")

URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'()\[\]{}|]+", re.I)
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
NUMBER = re.compile(r"\d+(?:[.,'’]\d+|[ \u00a0\u202f]\d{3}(?!\d))*")
LIST_MARK = re.compile(r"^\s*(\d{1,2})[.)]\s", re.M)
SAID_SPAN = re.compile(rf"\b({'|'.join(COUNTS)})\s+{SPANS}", re.I)


def language(text):
    """The two letters of the language that `text` is most probably in, or None."""
    text = ADDRESS.sub(" ", URL.sub(" ", text.lower()))
    letters = sum(character.isalpha() for character in text)
    for name, characters in SCRIPTS.items():
        # Other writing may hold names and terms in Latin letters, and Japanese is half Chinese.
        if letters and len(re.findall(f"[{characters}]", text)) >= letters * 0.3:
            return name
    words = re.findall(r"\w+", text)
    hits = {name: sum(word in own for word in words) for name, own in
            ((name, set(own.split())) for name, own in STOP_WORDS.items())}
    best = max(hits, key=hits.get)
    rest = max(count for name, count in hits.items() if name != best)
    return best if hits[best] >= 2 and hits[best] > rest else None


def _groups(token):
    return re.findall(r"\d+", token)


def _value(token):
    """A number as one writes it without separators: 1,250.00 and 1.250 are 1250, 22,40 is 22.4."""
    *whole, last = _groups(token)
    marks = re.findall(r"\D", token)
    # Three digits behind a separator are thousands; of several separators only a different last one is a decimal one.
    if whole and len(last) != 3 and (len(marks) == 1 or marks[-1] not in marks[:-1]):
        return f"{''.join(whole).lstrip('0') or '0'}.{last.rstrip('0')}".rstrip(".")
    return "".join([*whole, last]).lstrip("0") or "0"


def numbers(text):
    """The value of every number of `text`, also of those that are words, and of months."""
    text = unicodedata.normalize("NFKC", text)
    found = {_value(token) for token in NUMBER.findall(text)}
    for word in re.findall(r"\w+", text.lower()):
        found.update(str(table[word]) for table in (COUNTS, MONTHS) if word in table)
    return found


def invented(answer, source):
    """The numbers, addresses and links of `answer` that do not stand in `source`."""
    answer, source = (unicodedata.normalize("NFKC", text) for text in (answer, source))
    known, lower, strange = numbers(source), source.lower(), []
    # Of dates, versions and lists the parts may stand alone; full hours have no minutes.
    parts = known | {_value(group) for group in _groups(source)}
    for pattern in (URL, ADDRESS):
        for token in pattern.findall(answer):
            token = token.rstrip(".,;:!?*_`")
            if token.lower() not in lower:
                strange.append(token)
        answer = pattern.sub(" ", answer)
    marks = [int(mark) for mark in LIST_MARK.findall(answer)]
    answer = LIST_MARK.sub(lambda mark: " " if int(mark[1]) <= len(marks) else mark[0], answer)
    for token in NUMBER.findall(answer):
        if token != "00" and _value(token) not in parts and not all(_value(group) in parts for group in _groups(token)):
            strange.append(token)
    strange += [said[0] for said in SAID_SPAN.finditer(answer) if str(COUNTS[said[1].lower()]) not in known]
    return strange
