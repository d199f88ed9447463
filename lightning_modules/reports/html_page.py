"""One self-contained HTML page: a title, a verdict and sections; readable in light and in dark.

Nothing is fetched: style and pictures lie in the page. Pictures come from `page_plots`.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from datamodules.atomic import writing_text

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --line: #dfe3e8; --ink: #1c2330; --muted: #667085;
  --accent: #2f6fde; --second: #e09b2d; --bad: #c9372c; --warn: #a15c00; --good: #1f845a;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --paper: #12151a; --card: #1b2027; --line: #323a45; --ink: #e6e9ee; --muted: #98a2b3;
    --accent: #6ea2ff; --second: #f0b95b; --bad: #ff7b70; --warn: #f3bd58; --good: #5fd39b;
  }}
}}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}}
main {{ max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }}
h1 {{ font-size: 26px; margin: 0; }}
h2 {{ font-size: 18px; margin: 36px 0 12px; overflow-wrap: anywhere; }}
h3 {{ font-size: 15px; margin: 0 0 8px; }}
.where {{ color: var(--muted); overflow-wrap: anywhere; margin: 4px 0 16px; }}
.verdict {{
  display: inline-block; padding: 6px 14px; border-radius: 999px; font-weight: 600;
  border: 1px solid currentColor;
}}
.ready {{ color: var(--good); }}
.not-ready {{ color: var(--bad); }}
.card {{
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; margin-bottom: 10px;
}}
.finding {{ border-left-width: 5px; }}
.finding.fatal {{ border-left-color: var(--bad); }}
.finding.warning {{ border-left-color: var(--second); }}
.finding.note {{ border-left-color: var(--line); }}
.finding p {{ margin: 2px 0 0; }}
.label {{ font-size: 12px; font-weight: 700; letter-spacing: .04em; text-transform: uppercase; }}
.fatal .label {{ color: var(--bad); }}
.warning .label {{ color: var(--warn); }}
.note .label {{ color: var(--muted); }}
details {{ margin-top: 6px; color: var(--muted); }}
summary {{ cursor: pointer; }}
ul {{ margin: 6px 0 0; padding-left: 20px; }}
li, td.text {{ overflow-wrap: anywhere; }}
.plots {{
  display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
}}
.plots .card {{ margin: 0; }}
.plots + .card {{ margin-top: 14px; }}
.plots svg {{ width: 100%; height: auto; display: block; }}
.plots svg text {{ font-family: inherit; }}
.pairs {{
  display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr));
}}
.pairs .card {{
  display: grid; gap: 8px; grid-template-columns: 1fr 1fr; align-content: start; margin: 0;
}}
.pairs .caption {{ grid-column: 1 / -1; margin: 0; }}
.clips {{
  display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr));
}}
.clips .card {{ margin: 0; min-width: 0; }}
.clips h3 {{ margin: 8px 0 6px; overflow-wrap: anywhere; }}
.clips .caption {{ overflow-wrap: anywhere; }}
.odd {{
  display: grid; gap: 10px; margin-top: 8px;
  grid-template-columns: repeat(auto-fill, minmax(min(230px, 100%), 1fr));
}}
.strip {{ display: grid; gap: 4px; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); }}
.odd .strip {{ grid-auto-columns: minmax(0, 32%); }}
.strip img {{ width: 100%; height: auto; border-radius: 4px; display: block; }}
.answers {{
  display: grid; gap: 3px 10px; grid-template-columns: minmax(0, 2fr) minmax(60px, 3fr) auto;
  align-items: center; font-size: 13px; margin-top: 6px;
}}
.answers span {{ overflow-wrap: anywhere; }}
.answers .bar {{ background: var(--line); border-radius: 4px; height: 9px; overflow: hidden; }}
.answers i {{ display: block; height: 100%; background: var(--bad); }}
.answers .right i {{ background: var(--good); }}
.answers .open i {{ background: var(--accent); }}
.answers span.right {{ color: var(--good); font-weight: 600; }}
figure {{ margin: 0; min-width: 0; }}
video {{ width: 100%; height: auto; border-radius: 6px; display: block; background: #000; }}
.clips svg {{ width: 100%; height: auto; display: block; }}
.clips svg text {{ font-family: inherit; }}
figure img {{ width: 100%; height: auto; border-radius: 6px; display: block; }}
figcaption {{ font-size: 13px; overflow-wrap: anywhere; margin-top: 4px; }}
.caption {{ color: var(--muted); font-size: 13px; margin: 6px 0 0; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: 6px 12px; border-bottom: 1px solid var(--line);
  vertical-align: top; }}
th {{ font-size: 13px; color: var(--muted); font-weight: 600; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.number {{ white-space: nowrap; }}
tr:last-child td {{ border-bottom: 0; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="where">{where}</p>
<p class="verdict {ready}">{verdict}</p>
{sections}
</main>
</body>
</html>
"""


def save_page(
    target: Path,
    title: str,
    where: str,
    verdict: str,
    *,
    good: bool | None,
    sections: Sequence[str],
) -> Path:
    """Write a page; it appears whole or not at all.

    Args:
        target: The file.
        title: Heading, plain text.
        where: Line below it, plain text.
        verdict: The result in a few words, plain text.
        good: True for a good verdict, False for a bad one, None for one that is neither.
        sections: HTML, see `section`.

    Returns:
        The file.
    """
    page = PAGE.format(
        title=escape(title),
        where=escape(where),
        verdict=escape(verdict),
        ready={True: "ready", False: "not-ready", None: ""}[good],
        sections="\n".join(sections),
    )
    with writing_text(target, lone=True, errors="backslashreplace") as file:
        file.write(page)
    return target


def section(title: str, body: str) -> str:
    """Make a section of a heading, which is escaped, and HTML below it."""
    return f"<h2>{escape(title)}</h2>\n{body}"


def card(body: str) -> str:
    """Put HTML into a box, which scrolls where it is too wide."""
    return f'<div class="card scroll">{body}</div>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = True) -> str:
    """Make a table.

    Args:
        headings: Of the columns.
        rows: Cells, plain text.
        numbers: True if all columns but the first hold numbers, set to the right.

    Returns:
        HTML.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        kind = "number" if numbers else "text"
        first, *others = (escape(cell) for cell in cells)
        inner = "".join(f'<{tag} class="{kind}">{cell}</{tag}>' for cell in others)
        return f"<tr><{tag}>{first}</{tag}>{inner}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(headings, 'th')}</thead><tbody>{body}</tbody></table>"


def answer_bar(name: str, share: float, is_true: bool | None) -> str:
    """Draw the probability of a class as a bar, in a `div` of the class `answers`.

    Args:
        name: The class, plain text.
        share: Its probability.
        is_true: True for the class of the video, None where that is not known.
    """
    kind = {True: "right", False: "wrong", None: "open"}[is_true]
    return (
        f'<span class="{kind}">{escape(name)}</span><span class="bar {kind}">'
        f'<i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="number">{100 * share:.1f} %</span>'
    )
