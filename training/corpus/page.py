"""The report as an HTML page without scripts and external resources; all text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from training.corpus.report import Bar, CorpusReport, RejectedStory, SourceReport

_STYLE = """
:root { color-scheme: light dark; --ink: #23201c; --soft: #6d665d; --line: #e2dbd0; --page: #faf7f2; --card: #fffdf9;
  --train: #39616b; --held: #c47d3a; --bad: #a4372c; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece7df; --soft: #a59d91; --line: #3b3630; --page: #1c1a17; --card: #252220;
  --train: #7fb2bd; --held: #e0a066; --bad: #e8857a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 Georgia, "Iowan Old Style", "Noto Serif", "Noto Serif CJK SC",
  "Songti SC", SimSun, serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 2.1rem; font-weight: 500; letter-spacing: -.01em; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; font-weight: 600; margin: 3rem 0 .8rem; }
p.lead { color: var(--soft); margin: 0 0 2rem; max-width: 44rem; }
dl.figures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1px; background: var(--line);
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden; margin: 0; }
@media (max-width: 40rem) { dl.figures { grid-template-columns: 1fr 1fr; } figure svg { min-width: 34rem; } }
dl.figures div { background: var(--card); padding: 1rem 1.1rem; display: flex; flex-direction: column-reverse; }
dl.figures dt { color: var(--soft); font-size: .85rem; }
dl.figures dd { margin: 0; font-size: 1.7rem; font-variant-numeric: tabular-nums; line-height: 1.2; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.1rem 1.1rem .6rem; }
figcaption { color: var(--soft); font-size: .85rem; display: flex; gap: 1.2rem; flex-wrap: wrap; margin-bottom: .6rem; }
figcaption i { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px; margin-right: .4rem; vertical-align: -1px; }
svg { width: 100%; height: auto; display: block; font: 11px system-ui, sans-serif; }
svg text { fill: var(--soft); } svg .grid { stroke: var(--line); } svg .t { fill: var(--train); } svg .h { fill: var(--held); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: .82rem; }
th, td { padding: .42rem .9rem .42rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; min-width: 4.5rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { color: var(--soft); display: block; } .bad { color: var(--bad); }
section.rule { border-left: 3px solid var(--line); padding: .1rem 0 .1rem 1rem; margin: 1.2rem 0; }
section.rule h3 { font-size: 1rem; margin: 0 0 .3rem; } section.rule h3 span { color: var(--soft); font-weight: 400; }
section.rule ul { margin: 0; padding: 0; list-style: none; font-size: .92rem; } section.rule li { margin: .45rem 0; overflow-wrap: anywhere; }
section.rule li em { color: var(--soft); font-style: normal; }
.bar { display: inline-block; height: .55rem; border-radius: 2px; background: var(--train); vertical-align: middle; }
.bar.held { background: var(--held); }
"""


def page(report: CorpusReport) -> str:
    """The HTML of the page."""
    broken = [source for source in report.sources if source.error]
    lead = (
        f"{report.kept:,} of {report.found:,} stories from {len(report.sources) - len(broken):,} sources were kept. "
        "No author and no anthology is on both sides of the split."
    )
    parts = [
        f"<h1>The corpus</h1><p class='lead'>{escape(lead)}</p>",
        _figures(report),
        "".join(f"<p class='lead' style='margin:1.2rem 0 0'>{escape(note)}</p>" for note in report.notes),
        f"<h2>Words per story</h2>{_histogram(report.histogram)}",
        f"<h2>Rejected stories</h2>{_reasons(report)}",
        f"<h2>Sources</h2>{_sources(report.sources)}{_ignored(report)}",
        f"<h2>Authors</h2>{_authors(report)}",
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>The corpus</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _figures(report: CorpusReport) -> str:
    figures = [
        ("stories to train on", f"{report.train.stories:,}"),
        ("words to train on", _short(report.train.words)),
        ("stories held out", f"{report.held_out.stories:,}"),
        ("share held out", f"{report.held_out_share:.1%}"),
        ("authors", f"{report.train.authors + report.held_out.authors:,}"),
        ("median words", f"{report.median_words:,}"),
        ("stories rejected", f"{report.rejected:,}"),
        ("sources read", f"{sum(not source.error for source in report.sources):,}"),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
    return f"<dl class='figures'>{cells}</dl>"


def _short(number: int) -> str:
    return f"{number / 1e6:.2f} million" if number >= 10**6 else f"{number:,}"


def _histogram(bars: Sequence[Bar]) -> str:
    """Stacked bars of equal width in words, each with a title for mouse pointers and screen readers."""
    width, height, left, bottom = 900, 260, 40, 34
    highest = max(bar.train + bar.held_out for bar in bars)
    step = next(size for size in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 5000, 10**9) if highest <= 6 * size)
    top = (highest + step - 1) // step * step
    scale = (height - bottom - 10) / top
    room = (width - left) / len(bars)
    drawn = []
    for line in range(0, top + 1, step):
        y = height - bottom - line * scale
        drawn.append(f"<line class='grid' x1='{left}' x2='{width}' y1='{y:.1f}' y2='{y:.1f}'/>")
        drawn.append(f"<text x='{left - 8}' y='{y + 4:.1f}' text-anchor='end'>{line:,}</text>")
    every = max(1, -(-len(bars) // 12))
    for number, bar in enumerate(bars):
        x, base = left + number * room, float(height - bottom)
        words = f"{bar.least:,} to {bar.most:,}" if bar.most is not None else f"{bar.least:,} and more"
        drawn.append(f"<g><title>{words} words: {bar.train} to train on, {bar.held_out} held out</title>")
        for count, side in ((bar.train, "t"), (bar.held_out, "h")):
            bar_height = count * scale
            base -= bar_height
            if count:
                drawn.append(
                    f"<rect class='{side}' x='{x + 1.5:.1f}' y='{base:.1f}' width='{room - 3:.1f}' height='{bar_height:.1f}'/>"
                )
        drawn.append("</g>")
        crowded = bars[-1].most is None and len(bars) - number == 2  # too close to the last label
        if bar.most is None or (number % every == 0 and not crowded):
            label = f"{bar.least:,}" + ("+" if bar.most is None else "")
            drawn.append(f"<text x='{x:.1f}' y='{height - bottom + 18}'>{label}</text>")
    legend = "<span><i style='background:var(--train)'></i>to train on</span><span><i style='background:var(--held)'></i>held out</span>"
    name = "Stories by their length in words"
    return (
        f"<figure><figcaption>{legend}</figcaption><div class='scroll'><svg viewBox='0 0 {width} {height}' role='img' aria-label='{name}'>"
        f"{''.join(drawn)}</svg></div></figure>"
    )


def _reasons(report: CorpusReport) -> str:
    if not report.reasons:
        return "<p>No story was rejected.</p>"
    parts = []
    for rule, count in report.reasons.items():
        examples = "".join(_example(one) for one in report.examples.get(rule, []))
        parts.append(
            f"<section class='rule'><h3>{escape(rule)} <span>{count:,}</span></h3><ul>{examples}</ul></section>"
        )
    return "".join(parts) + "<p><small>rejected.jsonl.gz lists all of them.</small></p>"


def _example(one: RejectedStory) -> str:
    by = f" by {one.author}" if one.author else ""
    return f"<li>{escape(one.title)}{escape(by)} <em>({escape(one.source)})</em><br>{escape(one.reason)}</li>"


def _sources(sources: Iterable[SourceReport]) -> str:
    rows = []
    for source in sources:
        pages = ", ".join(f"{name}{f' ({count})' if count > 1 else ''}" for name, count in source.skipped.items())
        notes = f"<small>skipped: {escape(pages)}</small>" if pages else ""
        notes += "".join(f"<small>{escape(note)}</small>" for note in source.notes)
        notes += f"<small class='bad'>It {escape(source.error)}</small>" if source.error else ""
        rows.append(
            f"<tr><td>{escape(source.source)}{notes}</td><td>{escape(source.kind)}</td><td class='n'>{source.found:,}</td>"
            f"<td class='n'>{source.kept:,}</td><td class='n'>{source.rejected:,}</td></tr>"
        )
    head = "<tr><th>file</th><th>kind</th><th class='n'>stories</th><th class='n'>kept</th><th class='n'>rejected</th></tr>"
    return f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>"


def _ignored(report: CorpusReport) -> str:
    if not report.ignored:
        return ""
    files = ", ".join(f"{count:,} × {name}" for name, count in report.ignored.items())
    return f"<p><small>Files of unknown kinds, not read: {escape(files)}.</small></p>"


def _authors(report: CorpusReport) -> str:
    most = max(author.words for author in report.authors) or 1
    rows = []
    for author in report.authors[:200]:
        held = " held" if author.side == "held out" else ""
        bar = f"<span class='bar{held}' style='width:{max(1, round(120 * author.words / most))}px'></span>"
        rows.append(
            f"<tr><td>{escape(author.author)}</td><td class='n'>{author.stories:,}</td><td class='n'>{author.words:,}</td>"
            f"<td>{bar}</td><td>{author.side}</td></tr>"
        )
    more = len(report.authors) - 200
    rest = f"<p><small>And {more:,} more; report.json lists all of them.</small></p>" if more > 0 else ""
    head = "<tr><th>author</th><th class='n'>stories</th><th class='n'>words</th><th></th><th>side</th></tr>"
    return f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>{rest}"
