"""Words of the pages: short sentences, no private idiom, links that lead somewhere, pictures that exist.

A sentence is what is left of a page without code, tables, headings and pictures, split at list items and at `.`, `?`
and `!`. An inline code span, a link's text apart, counts as one word; signs such as `±` count as none.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
LONGEST, MEAN = 35, 20  # words
IDIOMS = (
    r"\b(?:tell|tells|told)\b.{0,40} apart\b",
    r"\btold from\b",
    r"\b(?:pay|pays|paid|paying)\b",
    r"\b(?:buys|bought)\b(?! performance)",  # the question of the project is quoted as it was asked
    r"\b(?:judges?|judged|judging|judge?ments?)\b",
    r"\bheld to\b",
    r"\bwhat is [^.?]{1,40} is\b",
)


def prose(text: str) -> list[str]:
    """The blocks of running text of a page: paragraphs and list items, each on one line."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.S | re.M)
    blocks, block, in_list = [], [], False
    for line in [*text.splitlines(), ""]:
        item = re.match(r"\s*(?:[-*]|\d+\.)\s+", line)
        ends = not line.strip() or item or re.match(r"\s*[#|]", line)
        if ends and block:
            blocks.append(" ".join(block))
            block = []
        if item:
            in_list = True
            block.append(line[item.end() :].strip())
        elif line.strip() and not ends and (block or in_list or not line.startswith("    ")):
            block.append(line.strip())
        if line.strip() and not line.startswith(" ") and not item:
            in_list = False
    return blocks


def plain(block: str) -> str:
    """A block without pictures, link addresses, code and emphasis."""
    block = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", block)
    block = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", block)
    block = re.sub(r"`[^`]*`", "code", block)
    return block.replace("*", "").replace("_", " ")


def sentences(text: str) -> list[str]:
    """The sentences of a page, in order."""
    parts = (part for block in prose(text) for part in re.split(r"(?:(?<=[.?!])|(?<=[.?!][\"')]))\s+", plain(block)))
    return [part for part in parts if words(part)]


def words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.S | re.M)
    headings = (plain(re.sub(r"`", "", line)) for line in re.findall(r"^#+\s+(.*)$", text, flags=re.M))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def complaints(page: Path) -> list[str]:
    """What is wrong with a page, one line each."""
    text = page.read_text()
    counted = [(words(sentence), sentence) for sentence in sentences(text)]
    found = [f"{count} words: {sentence}" for count, sentence in counted if count > LONGEST]
    if counted and sum(count for count, _ in counted) > MEAN * len(counted):
        found.append(f"{sum(count for count, _ in counted) / len(counted):.1f} words in a sentence on average")
    found += [
        f"idiom {match.group()!r}: {sentence}"
        for _, sentence in counted
        for idiom in IDIOMS
        if (match := re.search(idiom, sentence, flags=re.I))
    ]
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name) if name else page
        if not place.exists():
            found.append(f"leads nowhere: {target}")
        elif anchor and anchor not in anchors(place.read_text()):
            found.append(f"no such heading: {target}")
    return found


def listed(page: Path):
    name = str(page.relative_to(ROOT))
    return pytest.param(page, id=name)


@pytest.mark.parametrize("page", [listed(page) for page in PAGES])
def test_a_page_reads_well_and_its_links_lead_somewhere(page):
    assert not complaints(page)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("word " * 36 + ". Short.", "36 words"),
        ("word " * 21 + ". " + "word " * 20 + ".", "20.5 words in a sentence on average"),
        ("- " + "word " * 36 + "\n- short", "36 words"),
        ("Two classes cannot be told\napart.", "idiom 'told apart'"),
        ("It is judged.", "idiom 'judged'"),
        ("Coupling buys reward.", "idiom 'buys'"),
        ("What is sampled is kept.", "idiom 'What is sampled is'"),
        ("See [that](absent.md).", "leads nowhere: absent.md"),
        ("![a picture](absent.png)", "leads nowhere: absent.png"),
        ("# Here\n\n[there](#there)", "no such heading: #there"),
    ],
)
def test_each_rule_can_fail(tmp_path, text, complaint):
    page = tmp_path / "page.md"
    page.write_text(text)
    (found,) = complaints(page)
    assert found.startswith(complaint)


def test_code_tables_headings_and_pictures_are_no_sentences(tmp_path):
    long = "judged " * 40
    text = (
        f"# A heading\n\n## {long}\n\n```sh\n{long}\n```\n\n    {long}\n\n| {long} |\n|---|\n\n"
        f"<!-- {long} -->\n\n![{long}](page.md)\n\n1. One `{long}`:\n\n   ```\n   {long}\n   ```\n\n"
        "See [here](#a-heading).\n"
    )
    page = tmp_path / "page.md"
    page.write_text(text)
    assert complaints(page) == []
    assert sentences(text) == ["One code:", "See here."]
    assert sentences("- One. Two\n  goes on.\n- Three") == ["One.", "Two goes on.", "Three"]
