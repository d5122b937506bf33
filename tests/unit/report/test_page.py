"""The page of a run, read as a browser reads it: from its HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from trimtab.errors import ProgramError
from trimtab.report.model import RunReport
from trimtab.report.page import page_html, write_page
from trimtab.units import GIB, MIB

_VOID = {"meta", "img", "br", "path", "rect"}


@dataclass
class Element:
    """An element with its attributes, and the text inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def all(self, tag: str, class_: str | None = None) -> Iterator[Element]:
        """Yield the elements inside with a tag, and a class."""
        for element in self.inside:
            if element.tag == tag and (class_ is None or class_ in element.attributes.get("class", "").split()):
                yield element
            yield from element.all(tag, class_)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1].tag != "style":
            for element in self.open:
                element.text += data


def read(report: RunReport) -> Element:
    """Return a report's page; every element in it is closed where it should be."""
    reader = _Reader()
    reader.feed(page_html(report))
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def heading(page: Element) -> str:
    return next(page.all("h1")).text


def test_every_step_is_in_the_table_with_its_prediction_its_measurement_and_its_verdict(first_run: RunReport) -> None:
    table = next(read(first_run).all("table", "steps"))
    rows = list(next(table.all("tbody")).all("tr"))
    assert len(rows) == len(first_run.steps)
    for step, row in zip(first_run.steps, rows, strict=True):
        assert step.title in row.text
        assert step.name in row.text
        assert step.verdict in row.text
        assert step.outcome in row.text
    assert [cell.text for cell in rows[0].all("td", "number")] == [
        "1.4 GiB", "1.2 GiB", "600.0 MiB", "214.0 MiB", "1 min 15 s", "1 min 06 s",
    ]  # fmt: skip
    assert rows[5].attributes["class"] == "warn"


def test_a_first_run_that_fits_says_so_with_each_budget_measured(first_run: RunReport) -> None:
    page = read(first_run)
    assert heading(page) == "It worked, and it fits"
    budgets = [" ".join(item.text.split()) for item in next(page.all("ul", "budgets")).all("li")]
    assert budgets == [
        "disk fits 1.1 GiB of 4.0 GiB predicted 1.4 GiB",
        "memory fits 640.0 MiB of 4.0 GiB predicted 2.0 GiB",
        "time fits 3 min 27 s of 10 min 00 s predicted 5 min 30 s",
        "usd fits 0.00 $ of 0.00 $ predicted 0.00 $",
    ]


def test_a_second_run_says_that_nothing_had_to_be_done(second_run: RunReport) -> None:
    page = read(second_run)
    assert heading(page) == "Nothing had to be done, and it fits"
    assert page.text.count("already done") == len(second_run.steps)
    assert len(list(page.all("div", "band"))) == len(second_run.steps)


def test_a_run_that_goes_on_says_how_much_stood_already(first_run: RunReport, second_run: RunReport) -> None:
    steps = (*second_run.steps[:3], *first_run.steps[3:])
    page = read(replace(first_run, steps=steps))
    assert "4 steps ran; 3 steps stood already." in page.text


def test_a_failed_step_is_named_first_with_its_cause(first_run: RunReport) -> None:
    failed = replace(first_run.steps[4], outcome="failed", verdict="the disk is full\n  next: free some")
    page = read(replace(first_run, steps=(*first_run.steps[:4], failed), services=(), trainings=(), bucket=""))
    assert heading(page) == f"It stopped at step 5: {failed.title}"
    assert "the disk is full" in page.text
    assert "No step of this run served anything." in page.text
    assert "No step of this run trained anything." in page.text


def test_a_run_that_took_more_than_a_budget_says_which_and_what_to_change(first_run: RunReport) -> None:
    over = [*first_run.disk[:3], (70.0, first_run.disk[0][1] + 5 * GIB), *first_run.disk[6:]]
    page = read(replace(first_run, disk=tuple(over)))
    assert heading(page) == "It worked, but took more than its budget of disk"
    budget = next(page.all("li", "over"))
    assert "5.0 GiB of 4.0 GiB" in " ".join(budget.text.split())
    assert first_run.verdicts[0].remedy in budget.text


def test_the_address_that_serves_is_a_link_beside_the_size_and_its_budget(first_run: RunReport) -> None:
    card = next(read(first_run).all("article", "service"))
    assert [link.attributes["href"] for link in card.all("a")] == [first_run.services[0].address]
    assert "158.0 MiB over its base, of 209.8 MiB" in " ".join(card.text.split())
    assert next(card.all("div", "meter")).inside[0].attributes["style"] == "width:75.31%"


def test_an_image_over_its_budget_is_marked_and_its_bar_ends_at_the_budget(first_run: RunReport) -> None:
    service = replace(first_run.services[0], over_base_bytes=300 * MIB)
    card = next(read(replace(first_run, services=(service,))).all("article", "service"))
    assert next(card.all("div", "over")).inside[0].attributes["style"] == "width:100%"


def test_boxes_stand_where_the_service_found_them(first_run: RunReport) -> None:
    figure = next(read(first_run).all("figure", "golden"))
    assert next(figure.all("svg")).attributes["viewbox"] == "0 0 512 512"
    boxes = [[float(box.attributes[name]) for name in ("x", "y", "width", "height")] for box in figure.all("rect")]
    assert boxes == [[12.5, 3.2, 389.5, 507.8], [378, 96, 133, 256.5]]
    chips = {chip.text: chip.attributes["style"] for chip in figure.all("span", "chip")}
    assert chips == {"person 0.87": "left:2.44%;top:0.63%", "airplane 0.41": "right:0.2%;top:18.75%"}
    assert "person 0.87, airplane 0.41" in next(figure.all("img")).attributes["alt"]


def test_a_training_shows_its_accuracy_its_attempts_its_curves_and_its_confusion(first_run: RunReport) -> None:
    page = read(first_run)
    assert "99.17 %" in page.text
    assert "it went on where it was cut off" in page.text
    assert first_run.trainings[0].checkpoints in page.text
    assert len(list(page.all("path", "series"))) == 3
    rows = list(next(next(page.all("table", "confusion")).all("tbody")).all("tr"))
    assert [cell.text for cell in rows[8].all("td")] == ["0", "2", "0", "0", "0", "0", "0", "0", "33", "1"]
    assert len(list(page.all("td", "wrong"))) == 2


def test_a_training_without_a_confusion_or_epochs_is_still_listed(first_run: RunReport) -> None:
    training = replace(first_run.trainings[0], epochs=(), final={"confusion": [[1, 2]], "classes": ["a", "b"]})
    page = read(replace(first_run, trainings=(training,)))
    assert training.run_id in page.text
    assert not list(page.all("table", "confusion"))


def test_what_is_where_and_what_is_not_proven_stand_on_the_page(first_run: RunReport) -> None:
    text = read(first_run).text
    for said in (f"s3://{first_run.bucket}", *first_run.roles.values(), *first_run.not_proven, first_run.commit):
        assert said in text


def test_a_golden_picture_that_is_gone_leaves_a_word_and_the_table(first_run: RunReport, tmp_path: Path) -> None:
    service = replace(first_run.services[0], picture=tmp_path / "gone.jpg")
    card = next(read(replace(first_run, services=(service,))).all("article", "service"))
    assert "gone.jpg could not be read" in card.text
    assert "person" in card.text
    assert not list(card.all("img"))


HOSTILE = """</style></title><script>alert(1)</script><img src=x onerror=alert(1)>"' onload='x' {{ 7 * 7 }} &lt;"""


def test_hostile_text_stays_text_wherever_it_comes_from(first_run: RunReport, picture: Path) -> None:
    bad_picture = picture.with_name("<b onclick=x>'.jpg")
    picture.rename(bad_picture)
    plain = read(replace(first_run, trainings=(), services=()))
    service = replace(
        first_run.services[0],
        name=HOSTILE,
        variant=HOSTILE,
        address="javascript:alert(1)",
        picture=bad_picture,
        answer={"detections": [{"label": HOSTILE, "score": 0.5, "box": [1, 2, 3, 4]}]},
    )
    training = replace(
        first_run.trainings[0],
        job=HOSTILE,
        run_id=HOSTILE,
        checkpoints=HOSTILE,
        outcome=HOSTILE,
        epochs=((1, {f"{HOSTILE}_loss": 1.0}),),
        final={
            "classes": [HOSTILE, "b"],
            "confusion": [[1, 0], [0, 1]],
            "test_accuracy": HOSTILE,
            "best_epoch": HOSTILE,
        },
    )
    steps = tuple(replace(step, name=HOSTILE, title=HOSTILE, verdict=HOSTILE) for step in first_run.steps)
    hostile = replace(
        first_run,
        project=HOSTILE,
        stack=HOSTILE,
        run=HOSTILE,
        started_at=HOSTILE,
        commit=HOSTILE,
        steps=steps,
        verdicts=tuple(replace(v, limit_text=HOSTILE, need_text=HOSTILE, remedy=HOSTILE) for v in first_run.verdicts),
        bucket=HOSTILE,
        roles={HOSTILE: HOSTILE},
        not_proven=(HOSTILE,),
        services=(service,),
        trainings=(training,),
    )
    page = read(hostile)
    assert page.text.count(HOSTILE) >= 3 * len(steps) + 12
    assert {tag for tag in ("script", "b", "iframe", "a") if list(page.all(tag))} == {"b"}  # our own <b>, of the bands
    assert len(list(page.all("img"))) == 1
    assert len(list(page.all("li"))) == len(list(plain.all("li"))) - 1
    assert not [name for element in _every(page) for name in element.attributes if name.startswith("on")]


def test_the_page_loads_nothing_and_may_load_nothing(first_run: RunReport) -> None:
    page = read(first_run)
    loaded = [
        e.attributes[name] for e in _every(page) for name in ("src", "href", "srcset", "data") if name in e.attributes
    ]
    assert [address.partition(",")[0] for address in loaded] == [
        first_run.services[0].address,
        "data:image/jpeg;base64",
    ]
    assert {element.tag for element in _every(page)}.isdisjoint({"script", "link", "iframe", "object", "base"})
    html = page_html(first_run)
    assert not re.search(r"url\(|@import", html)
    assert set(re.findall(r"https?://[^/\"'<\s]+", html)) == {"http://127.0.0.1:8001"}
    policy = next(e for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")


def test_whoever_cannot_see_the_page_is_told_the_same(first_run: RunReport) -> None:
    page = read(first_run)
    assert all(image.attributes["alt"] for image in page.all("img"))
    assert all("aria-hidden" in picture.attributes for picture in page.all("svg"))
    plots = list(page.all("div", "plot"))
    assert all(plot.attributes["role"] == "img" and plot.attributes["aria-label"] for plot in plots)
    assert "at most 1.1 GiB" in plots[0].attributes["aria-label"]
    assert all("scope" in header.attributes for header in page.all("th"))
    assert all(list(table.all("caption")) for table in page.all("table"))
    assert next(element.tag for element in _every(page) if element.tag in ("h1", "h2")) == "h1"


def test_equal_reports_give_equal_pages(first_run: RunReport) -> None:
    assert page_html(first_run) == page_html(replace(first_run))


def test_writing_twice_leaves_one_page_and_nothing_else(first_run: RunReport, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "report"
    page = write_page(first_run, folder)
    before = page.read_bytes()
    assert write_page(first_run, folder) == page
    assert page.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["index.html"]


def test_a_page_that_cannot_be_put_in_place_is_an_error_and_leaves_no_part(
    first_run: RunReport, tmp_path: Path
) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(ProgramError, match="was not written"):
        write_page(first_run, tmp_path)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_name_that_is_not_utf_8_does_not_stop_the_page(first_run: RunReport, tmp_path: Path) -> None:
    page = write_page(replace(first_run, project="caf\udce9"), tmp_path)
    assert "caf?" in page.read_text("utf-8")


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(first_run: RunReport, scheme: int) -> None:
    palettes = re.findall(r":root \{(.*?)\}", page_html(first_run), flags=re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", palettes[scheme]))
    for text in ("ink", "soft", "accent", "good", "warn", "bad"):
        for behind in ("paper", "card", "shade"):
            assert _contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    for hue in range(6):
        assert _contrast(colours["on-hue"], colours[f"hue{hue}"]) >= 4.5


def _contrast(one: str, other: str) -> float:
    """Return WCAG 2.2's contrast ratio of two colours (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _every(element: Element) -> Iterator[Element]:
    for inner in element.inside:
        yield inner
        yield from _every(inner)
