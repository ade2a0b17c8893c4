"""The report's one style sheet: light and dark, phone and desk, screen and paper."""

CSS = """
:root{color-scheme:light dark;--page:#f4f6f8;--card:#fff;--ink:#18222d;--soft:#52606d;--line:#d9e0e6;
--track:#e8edf1;--plain:#2f6f9f;--critical:#a3123a;--high:#b84a00;--medium:#8a6a00;--low:#2a6a8c;
--info:#5a6672;--code:#eef2f5;--good:#1c6b45;--new:#5b34a8;--link:#0b5c99;--on:#fff}
@media (prefers-color-scheme:dark){:root{
--page:#0f151b;--card:#18212a;--ink:#e8eef3;--soft:#a3b1be;--line:#2c3945;
--track:#26323d;--plain:#5aa4d6;--critical:#ff7d95;--high:#ffa05c;--medium:#e3bf4d;--low:#74bbdf;--info:#a6b3bf;
--code:#222e38;--good:#6fcf9f;--new:#c3a6ff;--link:#7fc0f0;--on:#10171d}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main,header.top,footer{max-width:1180px;margin:0 auto;padding:0 1.5rem}
header.top{padding-top:2.25rem}
h1,h2,h3,p{margin:0}
h1{font-size:1.9rem;line-height:1.2;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.5rem 0 .9rem}
h3{font-size:1.02rem;line-height:1.35}
a{color:var(--link);text-underline-offset:.15em}
a:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:2px}
small,.note{color:var(--soft);font-size:.84rem}
.rows tbody th small{white-space:nowrap}
.eyebrow{color:var(--soft);font-size:.84rem;letter-spacing:.06em;text-transform:uppercase;margin-bottom:.3rem}
.facts{color:var(--soft);font-size:.92rem;margin-top:.5rem;overflow-wrap:anywhere}
.verdict{font-size:1.12rem;font-weight:600;margin-top:1.1rem;padding:.8rem 1rem;background:var(--card);
border:1px solid var(--line);border-left:6px solid var(--good);border-radius:8px}
.verdict.bad{border-left-color:var(--critical)}
.verdict.warn{border-left-color:var(--high)}
code{font-family:ui-monospace,"SF Mono",Consolas,"Noto Sans Mono","DejaVu Sans Mono",monospace;
font-size:.87em;overflow-wrap:anywhere;unicode-bidi:isolate}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.2rem,1fr));gap:.75rem;margin:1rem 0 0;
padding:0;list-style:none}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.65rem .9rem}
.tiles b{display:block;font-size:1.7rem;line-height:1.2;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.84rem}
.panels{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem}
.panel{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.15rem}
.panel>h3{margin-bottom:.5rem}
.panel>.note{margin-top:.5rem}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600}
.chart th[scope=row]{font-weight:400;font-size:.9rem;padding:.3rem .75rem .3rem 0;width:30%;
overflow-wrap:anywhere;vertical-align:middle}
.chart td{padding:.3rem 0;vertical-align:middle}
.chart .bar{width:34%}
.chart .figure{padding-left:.8rem;font-variant-numeric:tabular-nums;line-height:1.25}
.chart .figure small{display:block}
svg{display:block;width:100%;height:.85rem;border-radius:4px}
.track{fill:var(--track)}.mark{fill:var(--soft)}
.fill.plain{fill:var(--plain)}.fill.critical{fill:var(--critical)}.fill.high{fill:var(--high)}
.fill.medium{fill:var(--medium)}.fill.low{fill:var(--low)}.fill.info{fill:var(--info)}
.badge,.chip{display:inline-block;font-size:.76rem;font-weight:600;line-height:1.3;padding:.14rem .5rem;
border-radius:99px;white-space:nowrap}
.badge{color:var(--on)}
.badge.critical{background:var(--critical)}.badge.high{background:var(--high)}.badge.medium{background:var(--medium)}
.badge.low{background:var(--low)}.badge.info{background:var(--info)}
.chip{border:1px solid var(--line);color:var(--soft)}
.chip.new{border-color:var(--new);color:var(--new)}
.rows{background:var(--card);border:1px solid var(--line);border-radius:10px;overflow:hidden}
.rows th,.rows td{padding:.5rem .8rem;vertical-align:top;border-top:1px solid var(--line);font-size:.92rem}
.rows thead th{border-top:0;color:var(--soft);font-size:.8rem;white-space:nowrap}
.rows tbody th{font-weight:400}
.rows .number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.check{margin-top:1.6rem}
.check>header{margin-bottom:.6rem}
.check h3{font-size:1.1rem;margin:.25rem 0}
.check th:first-child{width:25%}.check th:nth-child(2){width:15%}.check th:nth-child(3){width:28%}
.rows .fresh{color:var(--new);font-weight:700}.rows .zero{color:var(--soft)}
.check .why{max-width:75ch}
.seen{margin:0}
.seen dt,.seen dd{display:inline;margin:0}
.seen dt{color:var(--soft);margin-right:.4rem}
.fix{display:block;background:var(--code);border-radius:6px;padding:.4rem .6rem;white-space:pre-wrap}
.quiet,.quiet th{color:var(--soft)}
.more{padding:.5rem .8rem;color:var(--soft);font-size:.88rem}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
footer{padding-top:2rem;padding-bottom:3rem;color:var(--soft);font-size:.86rem}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--card);padding:.5rem}
@media (max-width:760px){
main,header.top,footer{padding-left:.9rem;padding-right:.9rem}
header.top{padding-top:1.3rem}
h1{font-size:1.5rem}
.panels{grid-template-columns:minmax(0,1fr)}
.tiles{grid-template-columns:repeat(3,minmax(0,1fr));gap:.5rem}
.tiles li{padding:.5rem .6rem}.tiles b{font-size:1.35rem}
.rows,.rows tbody,.rows tr,.rows th,.rows td{display:block;width:100%}
.rows thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
.rows tr{padding:.55rem .8rem;border-top:1px solid var(--line)}
.rows tr:first-child{border-top:0}
.rows tbody th,.rows td{border:0;padding:.18rem 0}
.rows .number{text-align:left;display:inline-block;width:auto;margin-right:1rem}
.rows td[data-label]::before{content:attr(data-label) " ";color:var(--soft);font-size:.8rem;
margin-right:.35rem}
.rows td.wide::before{display:block}
.rows td:empty,.rows .zero{display:none}
.check .rows tbody th{width:100%;font-weight:600}
.chart th[scope=row]{width:34%}.chart .bar{width:26%}
}
@media print{
:root{--page:#fff;--card:#fff;--ink:#000;--soft:#333;--line:#bbb;--track:#e5e5e5;--code:#f3f3f3;--on:#fff;
--plain:#2f6f9f;--critical:#a3123a;--high:#b84a00;--medium:#8a6a00;--low:#2a6a8c;--info:#5a6672;--new:#5b34a8;
--link:#000}
body{font-size:11pt}
svg,.badge{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.panel,.rows tr,.verdict{break-inside:avoid}
h2,h3,.check>header{break-after:avoid}
.skip{display:none}
}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
"""
