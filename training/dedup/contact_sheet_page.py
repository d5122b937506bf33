# ruff: noqa: E501 - the lines of a page, not of Python
"""The contact sheet's template: in Python, because only Python files travel into a job's container. Pure text."""

from __future__ import annotations

from typing import Final

PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Copies among {{ "{:,}".format(report.files.paths | length) }} pictures</title>
<style>
:root {
  --paper: #f6f7f6; --card: #fff; --ink: #1a2427; --soft: #55646a; --rule: #dde2e1; --shade: #eef1f0;
  --accent: #0b7285; --good: #256b36; --warn: #8a5600; --bad: #b3261e;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #10171a; --card: #182125; --ink: #e7ecec; --soft: #9fb0b5; --rule: #2c393e; --shade: #1f2a2f;
    --accent: #5cc8d7; --good: #7fd493; --warn: #e8b85a; --bad: #ff8f85;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem; max-width: 76rem; background: var(--paper);
  color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
h1, h2, h3, p, dl, dd, ul, figure { margin: 0; }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em; font-weight: 650; }
h2 { font-size: 1.25rem; font-weight: 650; margin-bottom: 1rem; }
h3 { font-size: 1rem; font-weight: 600; }
section { margin-top: 2.5rem; }
.soft, small, caption, thead th { color: var(--soft); font-weight: 400; }
small, caption { font-size: .84rem; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: .75rem; padding: 1.25rem; }
.card + .card { margin-top: 1rem; }
.verdict { margin-top: 1.25rem; border-top: .3rem solid var(--good); }
.verdict.bad { border-top-color: var(--bad); }
.verdict p { color: var(--soft); margin-top: .35rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem 2rem; margin-top: 1.25rem; }
.facts dt { color: var(--soft); font-size: .84rem; }
.facts dd { font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.verdict .scroll { margin-top: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; padding-bottom: .5rem; }
th { text-align: left; font-weight: 500; }
th, td { padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--rule); vertical-align: top; }
thead th { border-top: 0; font-size: .84rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { width: 30%; min-width: 6rem; }
.bar i { display: block; height: .55rem; margin-top: .5rem; border-radius: .3rem; background: var(--accent); opacity: .45; }
.chosen th, .chosen td { font-weight: 650; }
.chosen .bar i { opacity: 1; }
.head { display: flex; flex-wrap: wrap; gap: .35rem .75rem; align-items: baseline; margin-bottom: .9rem; }
.badge {
  display: inline-block; padding: 0 .55em; border-radius: 1em; border: 1px solid currentcolor; font-size: .74rem;
  line-height: 1.5; font-weight: 600; white-space: nowrap; color: var(--soft);
}
.badge.bad { color: var(--bad); } .badge.good { color: var(--good); } .badge.warn { color: var(--warn); }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem .9rem; list-style: none; padding: 0; }
.frame {
  height: 8.5rem; display: grid; place-items: center; background: var(--shade); border-radius: .5rem; padding: .3rem;
  border: 2px solid transparent; margin-bottom: .4rem;
}
.keep .frame { border-color: var(--good); }
.frame img { max-width: 100%; max-height: 7.6rem; display: block; border-radius: .2rem; }
.row small { display: block; line-height: 1.35; }
.row .path { color: var(--ink); font: .76rem/1.35 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
</style>
</head>
<body>
<main>
<p class="soft">Trimtab · dedup</p>
<h1>Copies among {{ "{:,}".format(report.files.paths | length) }} pictures</h1>

<div class="card verdict {{ 'bad' if leaking else '' }}">
  {% if leaking %}
  <h2>{{ leaking }} {{ "cluster reaches" if leaking == 1 else "clusters reach" }} across splits</h2>
  <p>What is measured on a split that shares pictures with the training looks better than it is.</p>
  <div class="scroll"><table>
    <thead><tr><th scope="col">pictures of</th><th scope="col">with a copy in</th><th scope="col" class="number">now</th>
      <th scope="col" class="number">once the copies are moved</th></tr></thead>
    <tbody>
    {% for leak in outcome.leaks %}
      <tr><th scope="row">{{ leak.split }}</th><td>{{ leak.other }}</td><td class="number">{{ "{:,}".format(leak.before) }}</td>
        <td class="number">{{ "{:,}".format(leak.after) }}</td></tr>
    {% endfor %}
    </tbody>
  </table></div>
  {% else %}
  <h2>No picture has a copy in another split</h2>
  <p>At this threshold, among {{ report.config.pictures.splits | join(", ") or "no splits at all" }}.</p>
  {% endif %}
  <dl class="facts">
    <div><dt>pictures, different ones</dt><dd>{{ "{:,}".format(report.files.paths | length) }}, {{ "{:,}".format(report.files.content_count) }}</dd></div>
    <div><dt>clusters of copies</dt><dd>{{ "{:,}".format(outcome.clusters | length) }}</dd></div>
    <div><dt>may go</dt><dd>{{ "{:,}".format(outcome.removed) }} <small>{{ outcome.removed_bytes | size }}</small></dd></div>
    <div><dt>left out</dt><dd>{{ "{:,}".format(report.skips | length) }}</dd></div>
  </dl>
  <p>Nothing was moved. A green frame stays, the others may go. Encoder {{ report.survey.recipe.name }}{% if untrained %}
    (built in, without learnt weights: it knows copies, not things){% endif %}, cosine from {{ outcome.threshold }},
    {{ report.config.matching.link }} link.</p>
</div>

<section>
  <h2>Other thresholds</h2>
  <div class="card scroll"><table>
    <thead><tr><th scope="col">cosine from</th><th scope="col" class="number">pairs</th><th scope="col" class="number">clusters</th>
      <th scope="col" class="number">across splits</th><th scope="col" class="number">may go</th><th scope="col" class="bar"></th></tr></thead>
    <tbody>
    {% for row in report.sweep %}
      <tr class="{{ 'chosen' if row.threshold == outcome.threshold else '' }}"><th scope="row">{{ row.threshold }}
        {%- if row.threshold == outcome.threshold %} <span class="badge">chosen</span>{% endif %}</th>
        <td class="number">{{ "{:,}".format(row.pairs) }}</td><td class="number">{{ "{:,}".format(row.clusters | length) }}</td>
        <td class="number">{{ "{:,}".format(row.clusters | selectattr("leaks") | list | length) }}</td>
        <td class="number">{{ "{:,}".format(row.removed) }}</td>
        <td class="bar" aria-hidden="true"><i style="width:{{ (100 * row.removed / ([most, 1] | max)) | round(1) }}%"></i></td></tr>
    {% endfor %}
    </tbody>
  </table></div>
</section>

<section>
  <h2>Clusters</h2>
  {% for card in cards %}
  <article class="card">
    <div class="head"><h3>{{ card.count }} copies</h3>
      {% if card.leaks %}<span class="badge bad">across {{ card.splits | join(", ") }}</span>{% endif %}
      {% if card.more %}<span class="soft">{{ card.more }} more not shown</span>{% endif %}</div>
    <ul class="row">
    {% for item in card.shown %}
      <li class="{{ 'keep' if item.cosine is none else '' }}">
        <div class="frame">{% if item.picture %}<img src="{{ item.picture }}" alt="" loading="lazy">{% else %}<small>could not be read again</small>{% endif %}</div>
        <small><span class="badge {{ 'good' if item.cosine is none else 'warn' }}">{{ "stays" if item.cosine is none else "may go" }}</span>
          {% if item.split %}<span class="badge {{ 'bad' if card.leaks else '' }}">{{ item.split }}</span>{% endif %}</small>
        <small class="path">{{ item.path }}</small>
        <small>{{ item.size }}{% if item.cosine is not none %} · {{ "%.4f" | format(item.cosine) }}{% endif %}</small>
      </li>
    {% endfor %}
    </ul>
  </article>
  {% else %}
  <p class="soft">There are no copies{{ " to show" if outcome.clusters else "" }}.</p>
  {% endfor %}
  {% if hidden and cards %}<p class="soft" style="margin-top:1rem">{{ "{:,}".format(hidden) }} more clusters are in duplicates.json.</p>{% endif %}
</section>

{% if skipped %}
<section>
  <h2>Left out</h2>
  <div class="card scroll"><table>
    <caption>{% for reason, count in skipped.items() %}{{ "{:,}".format(count) }} {{ reason }}{{ ", " if not loop.last }}{% endfor %}</caption>
    <thead><tr><th scope="col">file</th><th scope="col">why</th><th scope="col">in detail</th></tr></thead>
    <tbody>
    {% for skip in skips %}
      <tr><th scope="row">{{ skip.path }}</th><td>{{ skip.reason }}</td><td class="soft">{{ skip.detail }}</td></tr>
    {% endfor %}
    </tbody>
  </table>
  {% if report.skips | length > skips | length %}<p class="soft">{{ report.skips | length - skips | length }} more are in duplicates.json.</p>{% endif %}
  </div>
</section>
{% endif %}
</main>
</body>
</html>
"""
