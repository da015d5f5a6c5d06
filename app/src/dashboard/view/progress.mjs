// The top of the page: where the migration is.

import { clock, object, text } from "../model/format.mjs";
import { headline } from "../model/headline.mjs";
import { hold, phases, stageBar } from "../model/stages.mjs";
import { byId, element, refill, setText, show } from "./elements.mjs";

const SPOKEN = { done: "done", current: "now", next: "to come", undone: "taken back" };

/** Draws where the migration is; `plan` is null until the journal is read. */
export function drawProgress(migration, plan, now) {
  const { tone, title, detail } = headline(migration);
  const hero = byId("headline").closest("section");
  if (hero.dataset.tone !== tone) hero.dataset.tone = tone;
  setText(byId("headline"), title);
  setText(byId("detail"), detail);
  setText(byId("began"), began(object(migration), now));
  refill(byId("phases"), phases(migration), (all) =>
    all.map(({ name, state }) =>
      element("li", { class: state, "aria-current": state === "current" ? "step" : null }, name),
    ),
  );
  refill(byId("stages"), migration ? stageBar(migration, plan) : [], (all) => all.map(stage));
  drawHold(hold(migration));
}

function stage({ percent, hold: held, measured, state }) {
  return element(
    "li",
    { class: state, "aria-current": state === "current" ? "step" : null },
    element("span", { class: "share" }, percent),
    element("span", { class: "unseen" }, ` ${SPOKEN[state]} `),
    element("span", { class: "small" }, held === null ? "" : `hold ${held}`),
    element("span", { class: "small" }, measured === null ? "" : `measured ${measured}`),
  );
}

function drawHold(held) {
  show(byId("hold"), held !== null);
  if (held === null) return;
  const bar = byId("hold-progress");
  if (bar.value !== held.value) bar.value = held.value;
  setText(byId("hold-text"), held.text);
  setText(byId("hold-waits"), held.waits);
}

function began(migration, now) {
  if (!text(migration.id)) return "";
  const ended = text(migration.ended_at);
  const until = ended === null ? "" : `, ended ${clock(ended, now)}`;
  return `${migration.stable} to ${migration.candidate}, begun ${clock(migration.started_at, now)} by ${migration.who}: ${migration.why}${until} (${migration.id})`;
}
