// Three plots over time: share, p99 and failed calls. They share a cursor.
//
// Invariant: colours come from the style sheet, so the plots follow light and dark.

import { DASH, clock, latency, percent } from "../model/format.mjs";
import { columns } from "../model/series.mjs";
import { byId, element, setText, show } from "./elements.mjs";

const HEIGHT = 150;
const SYNC = "dspex";
const PLOTS = [
  { key: "share", title: "Share of traffic on the candidate", lines: ["asked for", "measured"], colours: ["--muted", "--candidate"], say: percent, steps: true, top: 100 },
  { key: "p99", title: "p99 of whole calls", lines: ["stable", "candidate"], colours: ["--stable", "--candidate"], say: latency },
  { key: "errors", title: "Failed calls (without the caller’s own faults)", lines: ["stable", "candidate"], colours: ["--stable", "--candidate"], say: percent, least: 5 },
];

let plots = [];
let marks = [];

/** Draws the points, with lines where something was decided. */
export function drawPlots(points, decided, note) {
  const data = columns(points);
  show(byId("plots"), data !== null);
  setText(byId("plots-note"), data === null ? "Nothing to draw yet." : note);
  if (data === null || !globalThis.uPlot) return;
  marks = decided;
  if (plots.length === 0) build(data);
  PLOTS.forEach(({ key }, index) => plots[index].setData(data[key]));
}

/** Follows the window's width, and light and dark. */
export function watchAppearance(redraw) {
  new ResizeObserver(() => {
    const width = widthOf(byId("plots"));
    for (const plot of plots) if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
  }).observe(byId("plots"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of plots) plot.destroy();
    plots = [];
    byId("plots").replaceChildren();
    redraw();
  });
}

function widthOf(node) {
  return Math.max(200, Math.floor(node.clientWidth));
}

function build(data) {
  const parent = byId("plots");
  const styles = getComputedStyle(document.documentElement);
  const colour = (name) => styles.getPropertyValue(name).trim();
  parent.replaceChildren();
  plots = PLOTS.map((plot) => {
    const figure = element("figure", {}, element("figcaption", {}, plot.title));
    parent.append(figure);
    return new uPlot(options(plot, colour, widthOf(parent)), data[plot.key], figure);
  });
}

function options(plot, colour, width) {
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const stepped = uPlot.paths.stepped({ align: 1 });
  const line = (label, index) => ({
    label,
    stroke: colour(plot.colours[index]),
    width: 2,
    dash: plot.steps && index === 0 ? [6, 4] : undefined,
    paths: plot.steps && index === 0 ? stepped : undefined,
    points: { show: false },
    value: (_, value) => plot.say(value),
  });
  return {
    width,
    height: HEIGHT,
    cursor: { sync: { key: SYNC }, drag: { x: false, y: false } },
    legend: { live: true },
    scales: { y: { range: (_, low, high) => range(plot, low, high) } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map((t) => clock(new Date(t * 1000).toISOString(), Date.now()).split(" ").at(-1)), space: 80 }, { ...axis, size: 68, values: (_, ticks) => ticks.map(plot.say) }],
    series: [{ label: "time", value: (_, t) => (t === null ? DASH : clock(new Date(t * 1000).toISOString(), Date.now())) }, ...plot.lines.map(line)],
    hooks: { draw: [(self) => drawMarks(self, colour)] },
  };
}

/** From zero, with room above: a flat line of small figures must not look like a mountain. */
function range(plot, _, high) {
  if (plot.top) return [0, plot.top];
  return [0, Math.max((high ?? 0) * 1.15, plot.least ?? 10)];
}

function drawMarks(self, colour) {
  const { ctx, bbox } = self;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const { t, kind } of marks) {
    const x = self.valToPos(t, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colour({ rollback: "--bad", paused: "--warn" }[kind] ?? "--line-strong");
    ctx.setLineDash(kind === "stage" ? [2 * devicePixelRatio, 4 * devicePixelRatio] : []);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
