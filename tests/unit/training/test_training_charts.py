"""The pictures that a training leaves: sound XML, every number in its place, the same bytes for the same numbers."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from training.pictures.charts import Panel, confusion_svg, curves_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_a_confusion_has_a_cell_for_each_pair_and_names_that_cannot_break_it() -> None:
    classes = ("cat", "<dog> & co")
    content = confusion_svg(classes, ((3, 1), (0, 4)))
    assert content == confusion_svg(classes, ((3, 1), (0, 4)))
    picture = ET.fromstring(content)  # noqa: S314 - our own text
    titles = [title.text for title in picture.iter(f"{SVG}title")]
    assert titles[1] == "1 of cat answered as <dog> & co"
    assert len(titles) == 4
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts.count("<dog> & co") == 2
    assert {"3", "1", "4"} <= set(texts)
    assert "0" not in texts
    assert texts[-1] == "7 of 8 right; rows: the truth, columns: the answer"


def test_many_classes_get_small_cells_without_numbers() -> None:
    count = 60
    rows = tuple(tuple(5 if row == column else 0 for column in range(count)) for row in range(count))
    picture = ET.fromstring(confusion_svg([f"class {index}" for index in range(count)], rows))  # noqa: S314 - as above
    assert "5" not in [text.text for text in picture.iter(f"{SVG}text")]
    assert float(picture.attrib["width"]) < 1000


def test_curves_run_from_the_first_epoch_to_the_last_within_their_plot() -> None:
    rows = [{"epoch": epoch, "train_loss": 3 / epoch, "val_loss": 4 / epoch} for epoch in (1, 2, 3)]
    panels = (Panel(title="loss", names=("train_loss", "val_loss")),)
    picture = ET.fromstring(curves_svg(rows, panels, kept=2))  # noqa: S314 - as above
    lines = [line.attrib["points"].split() for line in picture.iter(f"{SVG}polyline")]
    assert [len(line) for line in lines] == [3, 3]
    for line in lines:
        xs, ys = zip(*(map(float, point.split(",")) for point in line), strict=True)
        assert list(xs) == sorted(xs)
        assert list(ys) == sorted(ys)  # the loss falls, and SVG counts down
        assert 0 < min(ys) < max(ys) <= 240
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert "val loss 1.333" in texts
    assert texts[1:5] == ["1", "2", "3", "4"]  # round numbers beside the lines


def test_one_epoch_and_numbers_that_are_all_equal_are_drawn_too() -> None:
    content = curves_svg([{"epoch": 1, "val_loss": 0.0}], (Panel(title="loss", names=("val_loss",)),))
    assert b"nan" not in content
