"""The rights of a stack as a picture: a grid of places and roles, for the README. Pure, and the same for equal input.

Every text stands on a fill of its own, so that the picture reads on a white page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from infra.policies import OWN_PREFIXES
from infra.rights import Place, Role, condition_text, places_of, refusals_of, roles_of, verbs_at
from trimtab.catalogue import Catalogue

_WIDTH: Final = 960
_MARGIN: Final = 24
_LABELS: Final = 270
_LEAST_COLUMN: Final = 128
_CHIP_HEIGHT: Final = 22
_GAP: Final = 6
_LETTER: Final = 7.2  # of a chip's word
_LINE: Final = 22
_CODE_LETTERS: Final = 118  # of a line of 12-pixel code across the picture
_STYLE: Final = """
    text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, "DejaVu Sans", sans-serif; }
    text { fill: #16262b; }
    .name { font-size: 16px; font-weight: 600; }
    .label { font-size: 13px; fill: #41565c; }
    .code { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
    .middle { text-anchor: middle; }
    .panel { fill: #e9f0f1; }
    .row { fill: #fff; }
    .rule { stroke: #cfdadc; }
    .none { fill: #8a9a9f; }
    .chip { font-size: 12px; font-weight: 600; fill: #fff; text-anchor: middle; }
    .list, .sign-in { fill: #52656b; }
    .read, .decrypt { fill: #0b5563; }
    .write, .encrypt { fill: #8a4b00; }
    .delete { fill: #9b2c2c; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4ecee; }
      .label { fill: #b4c4c9; }
      .panel { fill: #1b272c; }
      .row { fill: #26353b; }
      .rule { stroke: #43565d; }
      .none { fill: #7f9299; }
      .chip { fill: #fff; }
    }
  """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chip:
    """A verb in a cell, from the cell's left edge and upper edge."""

    verb: str
    text: str
    left: float
    top: float
    width: float


def picture(catalogue: Catalogue, stack: str) -> str:
    """Return the SVG."""
    roles, places = roles_of(catalogue, stack), places_of(catalogue, stack)
    width = max(_WIDTH, 2 * _MARGIN + _LABELS + _LEAST_COLUMN * len(roles))
    column = (width - 2 * _MARGIN - _LABELS) / len(roles)
    parts: list[str] = []
    top = _heading(parts, catalogue.bucket_name(stack), roles)
    top = _grid(parts, roles, places, top=top, column=column, width=width)
    top = _notes(parts, catalogue, stack, roles, top)
    title = f"Who may do what in {catalogue.bucket_name(stack)}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" role="img" '
        f'aria-labelledby="title desc">\n  <title id="title">{escape(title)}</title>\n'
        f'  <desc id="desc">{escape(_description(roles, places))}</desc>\n  <style>{_STYLE}</style>\n'
        f'  <rect class="panel" width="{width}" height="{top}" rx="12"/>\n'
    )
    return head + "".join(f"  {part}\n" for part in parts) + "</svg>\n"


def _heading(parts: list[str], bucket: str, roles: Sequence[Role]) -> int:
    top = 40
    parts.append(_text(_MARGIN, top, f"Who may do what in {bucket}", "name"))
    for (issuer, subject), names in _by_subject(roles).items():
        top += _LINE + 6
        parts.append(_text(_MARGIN, top, f"{', '.join(names)}: whoever {issuer} vouches for as", "label"))
        for line in _wrapped(subject):
            top += _LINE - 3
            parts.append(_text(_MARGIN, top, line, "code"))
    return top + 22


def _by_subject(roles: Sequence[Role]) -> dict[tuple[str, str], list[str]]:
    names: dict[tuple[str, str], list[str]] = {}
    for role in roles:
        names.setdefault((role.issuer, role.claims["sub"]), []).append(role.name)
    return names


def _grid(
    parts: list[str], roles: Sequence[Role], places: Sequence[Place], *, top: int, column: float, width: int
) -> int:
    left = _MARGIN + _LABELS
    top += 20
    for number, role in enumerate(roles):
        parts.append(_text(left + (number + 0.5) * column, top, role.name, "label middle"))
    top += 10
    for place in places:
        cells = [[*_chips(role, place, column)] for role in roles]
        lines = max((round(chip.top / (_CHIP_HEIGHT + _GAP)) + 1 for cell in cells for chip in cell), default=1)
        height = lines * (_CHIP_HEIGHT + _GAP) + _GAP
        parts.append(f'<rect class="row" x="{_MARGIN}" y="{top}" width="{width - 2 * _MARGIN}" height="{height}"/>')
        parts.append(f'<path class="rule" d="M{_MARGIN} {top}H{width - _MARGIN}"/>')
        parts.append(_text(_MARGIN + 12, top + 20, _shortened(place.label), "code"))
        for number, cell in enumerate(cells):
            x = left + number * column
            if not cell:
                parts.append(_text(x + column / 2, top + 20, "-", "none middle"))
            for chip in cell:
                parts += _drawn(chip, x, top + _GAP)
        top += height
    return top + 14


def _drawn(chip: _Chip, left: float, top: float) -> Iterator[str]:
    x, y, kind = left + chip.left, top + chip.top, chip.verb.replace(" ", "-")
    size = f'width="{chip.width:.0f}" height="{_CHIP_HEIGHT}"'
    yield f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" {size} rx="11"/>'
    yield _text(x + chip.width / 2, y + 15.5, chip.text, "chip")


def _chips(role: Role, place: Place, column: float) -> Iterator[_Chip]:
    """Yield the chips of a cell, in lines that are centred."""
    lines: list[list[tuple[str, str, float]]] = [[]]
    for verb, conditional in verbs_at(role, place):
        text = verb + "*" * conditional
        width = len(text) * _LETTER + 16
        if lines[-1] and sum(w + _GAP for _, _, w in lines[-1]) + width > column - 2 * _GAP:
            lines.append([])
        lines[-1].append((verb, text, width))
    for number, line in enumerate(lines):
        left = (column - sum(width for _, _, width in line) - _GAP * (len(line) - 1)) / 2
        for verb, text, width in line:
            yield _Chip(verb=verb, text=text, left=left, top=number * (_CHIP_HEIGHT + _GAP), width=width)
            left += width + _GAP


def _notes(parts: list[str], catalogue: Catalogue, stack: str, roles: Sequence[Role], top: int) -> int:
    statements = [statement for role in roles for statement in role.access["Statement"]]
    conditions = {condition_text(s) for s in statements if "Condition" in s and s["Sid"] != OWN_PREFIXES}
    notes = [f"* only where {condition}" for condition in sorted(conditions)]
    if any(role.boundary for role in roles):
        notes.append("No role of a job can be given more than the objects of this bucket: a boundary holds them.")
    refused = [f"{s['Action']} where {condition_text(s)}" for s in refusals_of(catalogue, stack)]
    notes += ["The bucket refuses to everybody, whatever their role:", *(f"- {line}" for line in refused)]
    for note in dict.fromkeys(notes):
        for number, line in enumerate(_wrapped(note, indent="  ")):
            top += _LINE if number == 0 else _LINE - 4
            parts.append(_text(_MARGIN, top, line, "label code"))
    return top + 22


def _description(roles: Sequence[Role], places: Sequence[Place]) -> str:
    sentences = []
    for role in roles:
        may = [
            f"{', '.join(verb for verb, _ in verbs)} at {place.label}"
            for place in places
            if (verbs := verbs_at(role, place))
        ]
        sentences.append(f"{role.name}: {'; '.join(may)}.")
    return " ".join(sentences)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" xml:space="preserve">{escape(text)}</text>'


def _shortened(label: str) -> str:
    most = round((_LABELS - 20) / _LETTER)
    return label if len(label) <= most else f"{label[: most // 2]}…{label[-(most - most // 2 - 1) :]}"


def _wrapped(text: str, *, indent: str = "") -> Iterator[str]:
    """Yield a text in lines that fit across the picture; broken at spaces where there are any, else after colons."""
    while len(text) > _CODE_LETTERS:
        head = text[:_CODE_LETTERS]
        end = max(head.rfind(" "), 0) or head.rfind(":") + 1 or _CODE_LETTERS
        yield text[:end]
        text = indent + text[end:].lstrip()
    yield text
