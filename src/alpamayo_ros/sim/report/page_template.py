"""The page around the report's sections: plain HTML, its style, and a script that sorts tables."""

from __future__ import annotations

from string import Template

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1d2330; --faint: #6b7585; --line: #e1e5eb; --soft: #f5f7f9; --good: #0e7a5a;
  --bad: #c62f3e;
  --warn: #b7791f; --accent: #e4572e; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  color: var(--ink);
  background: #eef1f4; }
main, header > div { max-width: 1180px; margin: 0 auto; padding: 0 28px; }
header { background: var(--ink); color: white; padding: 26px 0 24px; margin-bottom: 24px; }
header h1 { margin: 0; font-size: 26px; font-weight: 650; letter-spacing: -0.01em; }
header p { margin: 4px 0 0; color: #b9c2d0; }
section { background: white; border: 1px solid var(--line); border-radius: 8px; padding: 20px 24px;
  margin: 0 0 20px; }
h2 { margin: 0 0 12px; font-size: 18px; } h3 { margin: 18px 0 6px; font-size: 14px; }
p { margin: 6px 0; } .faint, small { color: var(--faint); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px;
  margin-bottom: 20px; }
.card { background: white; border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; }
.card b { display: block; font-size: 25px; font-weight: 650; line-height: 1.25; }
.card span { color: var(--faint); font-size: 13px; } .card small { display: block; font-size: 12.5px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line); white-space: nowrap;
  }
th { color: var(--faint); font-weight: 600; } tbody tr:hover { background: var(--soft); }
th:first-child, td:first-child, .left { text-align: left; } td.text { white-space: normal;
  text-align: left; }
table.sortable th { cursor: pointer; } table.sortable th:hover { color: var(--ink); }
a { color: #2459a8; text-decoration: none; } a:hover { text-decoration: underline; }
.badge { display: inline-block; border-radius: 4px; padding: 1px 8px; font-size: 12.5px;
  font-weight: 600; color: white;
  background: var(--faint); vertical-align: 2px; } .good { background: var(--good); }
  .bad { background: var(--bad); }
.middling { background: var(--warn); }
.bar { display: inline-block; position: relative; width: 120px; height: 9px; background: var(--line);
  border-radius: 5px;
  vertical-align: 1px; } .bar i { position: absolute; left: 0; top: 0; bottom: 0;
  background: var(--good); border-radius: 5px; }
.bar u { position: absolute; top: 3px; height: 3px; background: var(--ink); opacity: .55; }
img, video { max-width: 100%; height: auto; display: block; border-radius: 5px; }
video { width: 100%; background: white; }
.map { border: 1px solid var(--line); width: 100%; }
.two { display: grid; grid-template-columns: 3fr 2fr; gap: 22px; align-items: start; }
@media (max-width: 900px) { .two { grid-template-columns: 1fr; } .wide { overflow-x: auto; } }
figure { margin: 14px 0 0; } figcaption { padding: 4px 2px 0; }
.narrow { display: grid; grid-template-columns: repeat(auto-fit, minmax(235px, 1fr)); gap: 0 12px; }
.narrow figcaption { font-size: 13.5px; line-height: 1.35; }
.rollout { background: white; border: 1px solid var(--line); border-radius: 8px; padding: 16px 24px;
  margin: 0 0 12px; }
.rollout > summary { color: var(--ink); } .rollout[open] > summary { margin-bottom: 10px; }
.rollout > summary h2 { display: inline; margin-right: 8px; }
blockquote { margin: 2px 0 0; padding: 0 0 0 12px; border-left: 3px solid var(--accent);
  font-style: italic; }
ol.events { margin: 0; padding: 0; list-style: none; } ol.events li { display: flex; gap: 12px;
  padding: 2px 0; }
ol.events time { color: var(--faint); min-width: 46px; text-align: right;
  font-variant-numeric: tabular-nums; }
details details { margin-top: 12px; } summary { cursor: pointer; color: var(--faint); }
.scroll { max-height: 340px; overflow: auto; border: 1px solid var(--line); border-radius: 5px; }
dl { display: grid; grid-template-columns: max-content auto; gap: 1px 14px; margin: 0;
  font-size: 13.5px; }
dt { color: var(--faint); } dd { margin: 0; font-variant-numeric: tabular-nums; }
dl.all { display: block; columns: 3; column-gap: 32px; padding-top: 6px; }
dl.all div { display: flex; justify-content: space-between; gap: 12px; break-inside: avoid; }
code { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: var(--soft);
  padding: 2px 6px;
  border-radius: 4px; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12.5px; color: var(--faint);
  margin: 6px 0 0; }
.legend i { display: inline-block; width: 20px; height: 4px; border-radius: 2px; margin-right: 6px;
  vertical-align: 3px; }
.notice { border-left: 4px solid var(--warn); }
</style>
</head>
<body>
<header><div><h1>$title</h1><p>$subtitle</p></div></header>
<main>
$body
</main>
<script>
for (const head of document.querySelectorAll("table.sortable th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0];
  const key = row => row.cells[head.cellIndex].dataset.key ?? row.cells[head.cellIndex].textContent;
  const sign = head.dataset.sign = head.dataset.sign === "1" ? "-1" : "1";
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)], [m, n] = [parseFloat(x), parseFloat(y)];
    return Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n;
  };
  [...body.rows].sort((a, b) => sign * compare(a, b)).forEach(row => body.append(row));
});
const unfold = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", unfold); unfold();
</script>
</body>
</html>
"""
)
