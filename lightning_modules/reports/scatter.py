"""Points with thumbnails in a page: looked at with a mouse, a finger or the arrow keys."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from lightning_modules.reports.frames import data_address

SIDE = 96
"""Longest side of a thumbnail, in pixels."""

_STYLE = """\
<style>
.scatter { display: grid; gap: 14px; grid-template-columns: minmax(0, 3fr) minmax(150px, 1fr); }
.scatter svg { width: 100%; height: auto; display: block; touch-action: manipulation; }
.scatter svg:focus-visible { outline: 2px solid var(--accent); border-radius: 6px; }
.scatter circle.wrong { stroke: var(--bad); stroke-width: .5; }
.scatter circle.on { stroke: var(--ink); stroke-width: .8; }
.scatter img { width: 100%; max-width: 192px; image-rendering: auto; border-radius: 6px; }
.scatter ul { list-style: none; padding: 0; font-size: 13px; }
.scatter li::before { content: "\\25CF  "; color: var(--own); }
@media (max-width: 560px) { .scatter { grid-template-columns: minmax(0, 1fr); } }
</style>
"""

_SCRIPT = """\
<script>
document.querySelectorAll(".scatter").forEach((box) => {
  const points = JSON.parse(box.querySelector("script").textContent);
  const svg = box.querySelector("svg"), dots = [...svg.querySelectorAll("circle")];
  const picture = box.querySelector("img"), words = box.querySelector(".words");
  let now = 0;
  const choose = (next) => {
    dots[now].classList.remove("on");
    now = next;
    dots[now].classList.add("on");
    dots[now].parentNode.append(dots[now]);
    picture.src = points[now].picture;
    words.textContent = points[now].text;
  };
  const nearest = (x, y, fits) => {
    let best = -1, least = Infinity;
    points.forEach((p, i) => {
      const far = (p.x - x) ** 2 + (p.y - y) ** 2;
      if (i !== now && fits(p) && far < least) { best = i; least = far; }
    });
    return best;
  };
  const ways = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  };
  svg.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    const { x, y } = points[now];
    const next = nearest(x, y, (p) => {
      const along = (p.x - x) * way[0] + (p.y - y) * way[1];
      const aside = Math.abs((p.x - x) * way[1]) + Math.abs((p.y - y) * way[0]);
      return along > 0 && aside <= along;
    });
    if (next >= 0) choose(next);
  });
  const look = (event) => {
    const spot = svg.getBoundingClientRect();
    const x = (event.clientX - spot.left) / spot.width * 100;
    const y = (event.clientY - spot.top) / spot.height * 70;
    const next = nearest(x, y, () => true);
    const far = (p) => (p.x - x) ** 2 + (p.y - y) ** 2;
    if (next >= 0 && far(points[next]) < far(points[now])) choose(next);
  };
  svg.addEventListener("pointermove", look);
  svg.addEventListener("pointerdown", look);
  choose(0);
});
</script>
"""


@dataclass(frozen=True)
class Point:
    """A point.

    Attributes:
        place: Position, on any scale.
        group: Number of its colour; -1 for none.
        text: What is said of it.
        is_marked: True for a red rim.
        thumbnail: Its picture, (H, W, 3).
    """

    place: tuple[float, float]
    group: int
    text: str
    is_marked: bool
    thumbnail: NDArray[np.uint8]


def scatter(points: Sequence[Point], groups: Sequence[str], title: str) -> str:
    """Draw points; one is always chosen, and its picture stands beside.

    Args:
        points: At least one.
        groups: Names of the colours.
        title: What is seen, for those who cannot see it.

    Returns:
        HTML, script included: one such picture in a page.
    """
    places = np.array([point.place for point in points], np.float64)
    low, high = places.min(0), places.max(0)
    scaled = (places - low) / np.maximum(high - low, 1e-12)
    xs, ys = 2 + 96 * scaled[:, 0], 68 - 66 * scaled[:, 1]
    listed = [
        {
            "x": round(x, 2),
            "y": round(y, 2),
            "text": p.text,
            "picture": data_address(p.thumbnail, SIDE),
        }
        for p, x, y in zip(points, xs.tolist(), ys.tolist(), strict=True)
    ]
    dots = "".join(
        f'<circle cx="{x:.2f}" cy="{y:.2f}" r=".8" fill="{_color(p.group, len(groups))}" '
        f"class={'wrong' if p.is_marked else 'right'}></circle>"
        for p, x, y in zip(points, xs.tolist(), ys.tolist(), strict=True)
    )
    shown = [g for g in range(len(groups)) if any(p.group == g for p in points)]
    names = "".join(
        f'<li style="--own:{_color(g, len(groups))}">{escape(groups[g])}</li>' for g in shown
    )
    held = json.dumps(listed).replace("<", "\\u003c")
    return (
        f'{_STYLE}<div class="scatter card"><svg viewBox="0 0 100 70" tabindex="0" role="img" '
        f'aria-label="{escape(title)}; arrow keys go from point to point">{dots}</svg>'
        f'<div><img alt="the chosen clip"><p class="caption words" aria-live="polite"></p>'
        f'<ul>{names}</ul></div><script type="application/json">{held}</script></div>{_SCRIPT}'
    )


def _color(group: int, count: int) -> str:
    if group < 0:
        return "var(--muted)"
    return f"hsl({360 * group / max(1, count):.0f} 65% {45 + 12 * (group % 2)}%)"
