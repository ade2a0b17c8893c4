"""Charts of the report: rows of a name, a bar drawn as inline SVG, and a figure.

Each is a table, so that it reads without the bars: aloud, on paper and on a phone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lifecycle.audit.finding import Severity
from lifecycle.audit.formats.markup import Markup, tag
from lifecycle.audit.formats.shape import plural
from lifecycle.audit.report import RANK, CertificateEnd, HubLoad, Quota, Tally

MOST_HUBS = 40
NEAR = 0.8
"""Of a limit: from there on it is coloured."""

FAR_DAYS = 3_650
"""What is further away than that is not reckoned in days."""

DOMAIN = ".azure-devices.net"
"""What most hubs' names end in, and charts leave out."""

_WIDTH = 1000
"""Units of a bar's whole width."""

SPANS = (
    (0, "expired"),
    (30, "within 30 days"),
    (90, "within 90 days"),
    (180, "within 180 days"),
    (365, "within a year"),
)
"""Days to a certificate's end; what is later has a row of its own."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a bar: how much of the whole width, 0 to 1, and its class."""

    share: float
    kind: str


@dataclass(frozen=True, slots=True)
class Line:
    """One row.

    Attributes:
        name: at its start.
        parts: of its bar, from the left.
        figure: behind the bar.
        note: smaller, below the figure.
        mark: a line across the bar, 0 to 1.
    """

    name: str
    parts: tuple[Part, ...]
    figure: str
    note: str = ""
    mark: float | None = None


def severities(tally: Tally) -> Markup:
    """Open findings by severity."""
    most = max([*tally.severities.values(), 1])
    lines = [
        Line(each.value, (Part(tally.severities[each] / most, each.value),), f"{tally.severities[each]:,}")
        for each in RANK
    ]
    return chart("Open findings by severity", lines, head=("severity", "findings"))


def hubs(loads: Sequence[HubLoad]) -> Markup:
    """Devices of each hub, beside each other."""
    if not loads:
        return nothing("Devices on each hub", "Which hubs are linked, and their devices, is not known.")
    shown = sorted(loads, key=lambda load: (-(load.devices or 0), load.hub))
    most = max([*(load.devices or 0 for load in shown), 1])
    lines = [_load(load, most) for load in shown[:MOST_HUBS]]
    left = len(shown) - len(lines)
    note = f"{plural(left, 'more hub')} with fewer devices." if left > 0 else ""
    return chart("Devices on each hub", lines, head=("hub", "devices"), note=note)


def _load(load: HubLoad, most: int) -> Line:
    name = load.hub.removesuffix(DOMAIN)
    if load.devices is None:
        return Line(name, (), "not known")
    near = load.limit is not None and load.devices >= NEAR * load.limit
    notes = []
    if load.limit:
        notes.append(f"{load.devices / load.limit:.1%} of {load.limit:,}")
    if not load.listed:
        notes.append("as the hub says")
    part = Part(load.devices / most, "high" if near else "plain")
    return Line(name, (part,), f"{load.devices:,}", ", ".join(notes))


def certificates(ends: Sequence[CertificateEnd], now: datetime) -> Markup:
    """How many end when."""
    title = "Certificates by their end"
    if not ends:
        return nothing(title, "No certificate was seen.")
    counts = dict.fromkeys([name for _, name in SPANS] + ["later"], 0)
    for each in ends:
        days = (each.ends - now).total_seconds() / 86_400
        counts[next((name for most, name in SPANS if days <= most), "later")] += 1
    kinds = dict(zip(counts, ("critical", "high", "medium", "low", "plain", "plain"), strict=True))
    most = max(counts.values())
    lines = [Line(name, (Part(count / most, kinds[name]),), f"{count:,}") for name, count in counts.items()]
    return chart(title, lines, head=("ends", "certificates"))


def quotas(every: Sequence[Quota]) -> Markup:
    """How much of each limit is used."""
    title = "Quotas and their headroom"
    if not every:
        return nothing(title, "No quota could be counted.")
    lines = [_quota(each) for each in sorted(every, key=lambda each: (-each.share, each.name))]
    return chart(title, lines, head=("quota", "used"), note="The line across a bar is at 80 %.")


def _quota(quota: Quota) -> Line:
    kind = "critical" if quota.share >= 0.95 else "high" if quota.share >= NEAR else "plain"
    note = f"{quota.used:,} of {quota.limit:,}"
    if quota.days_left is not None:
        far = quota.days_left > FAR_DAYS
        note += ", full in over ten years" if far else f", full in {plural(round(quota.days_left), 'day')}"
    name = quota.name.replace("_", " ")
    return Line(name, (Part(min(1.0, quota.share), kind),), f"{quota.share:.0%}", note, NEAR)


def chart(title: str, lines: Sequence[Line], *, head: tuple[str, str], note: str = "") -> Markup:
    """A table of bars under its title."""
    rows = [
        tag(
            "tr",
            tag("th", line.name, scope="row"),
            tag("td", bar(line), class_="bar"),
            tag("td", tag("b", line.figure), tag("small", line.note) if line.note else None, class_="figure"),
        )
        for line in lines
    ]
    heading = tag(
        "thead",
        tag(
            "tr",
            tag("th", head[0], scope="col"),
            tag("th", "chart", scope="col"),
            tag("th", head[1], scope="col"),
        ),
        class_="unseen",
    )
    return tag(
        "section",
        tag("h3", title),
        tag("table", tag("caption", title, class_="unseen"), heading, tag("tbody", *rows), class_="chart"),
        tag("p", note, class_="note") if note else None,
        class_="panel",
    )


def bar(line: Line) -> Markup:
    """The bar alone; the figure beside it says the same in words."""
    drawn, at = [tag("rect", class_="track", width=_WIDTH, height=10)], 0
    for part in line.parts:
        width = round(max(0.0, min(1.0, part.share)) * _WIDTH)
        if part.share > 0:
            width = max(width, 6)  # what is there is seen
        drawn.append(tag("rect", class_=f"fill {part.kind}", x=at, width=min(width, _WIDTH - at), height=10))
        at = min(_WIDTH, at + width)
    if line.mark is not None:
        drawn.append(tag("rect", class_="mark", x=round(line.mark * _WIDTH), width=4, height=10))
    label = f"{line.name}: {line.figure}" + (f", {line.note}" if line.note else "")
    return tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {_WIDTH} 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def nothing(title: str, why: str) -> Markup:
    """A panel without a chart."""
    return tag("section", tag("h3", title), tag("p", why, class_="note"), class_="panel")


def badge(severity: Severity) -> Markup:
    """The severity, as a word on its colour."""
    return tag("span", severity.value, class_=f"badge {severity.value}")
