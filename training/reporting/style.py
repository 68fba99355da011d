"""The look of a run's report: light or dark as the reader's machine is, one column on a phone, plain on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5b5b63; --paper: #fdfdfc; --line: #d9d9d6; --grid: #ececea;
  --one: #1f5fa8; --two: #b3541e; --good: #1d6b3a; --bad: #a3261d; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececee; --soft: #a5a5ad; --paper: #17171a; --line: #3b3b41; --grid: #29292e;
  --one: #7fb2f0; --two: #f0a36b; --good: #7fd09b; --bad: #ff9a8f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 82rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); font-size: 1.2rem; }
h3 { display: inline; margin: 0; font-size: 1rem; }
header p { margin: .5rem 0 0; color: var(--soft); }
header .state { font-weight: 600; }
.state.good { color: var(--good); } .state.bad { color: var(--bad); }
section:first-child { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem 2rem; }
section:first-child h2 { grid-column: 1 / -1; margin-bottom: 0; }
figure { margin: 0; break-inside: avoid; }
figcaption { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline; }
.key { color: var(--soft); } .key b { color: var(--ink); font-variant-numeric: tabular-nums; }
.key:not(:only-of-type)::before { content: ""; display: inline-block; width: 1.2em; margin-right: .4em; vertical-align: .25em;
  border-top: 3px solid var(--one); }
.key.c1:not(:only-of-type)::before { border-top: 3px dashed var(--two); }
.note { margin: 0; color: var(--soft); font-size: .875rem; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); } svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
.grid { stroke: var(--grid); } .axis { fill: none; stroke: var(--line); } .resumed { stroke: var(--soft); stroke-dasharray: 2 4; }
polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
polyline.c0 { stroke: var(--one); } polyline.c1 { stroke: var(--two); stroke-dasharray: 6 3; stroke-width: 2; }
polyline.raw { stroke-width: 1; stroke-dasharray: none; opacity: .35; }
.dot.c0 { fill: var(--one); } .dot.c1 { fill: var(--two); } .spot { fill: transparent; }
.spot:hover { fill: var(--soft); fill-opacity: .35; }
svg .hole { fill: var(--bad); text-anchor: middle; font-size: 14px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); font-size: .875rem; }
ol { margin: 0; padding: 0; list-style: none; }
@media (min-width: 40rem) { li { display: grid; grid-template-columns: auto 1fr; } li.note { display: block; } }
time { margin-right: .5rem; color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { margin: 0; white-space: pre-wrap; font: .875rem/1.5 ui-monospace, monospace; }
@media (max-width: 30rem) { svg { font-size: 15px; } th, td { padding: .25rem .4rem; } th:first-child { white-space: normal; } }
@media print { body { max-width: none; padding: 0; font-size: 11px; }
  section:first-child { grid-template-columns: 1fr 1fr; } }
"""
