// The journal, newest first.
//
// Invariant: an entry that is on the page stays the same element, so what a visitor has opened or
// selected stays so while new entries come.

import { clock } from "../model/format.mjs";
import { byId, element, refill, setText, show } from "./elements.mjs";

const STEP = 60;
let shown = STEP;
let journalShown = null;
const entries = new Map();

/** Draws the journal; `note` says why there is none. */
export function drawJournal(journal, note, now) {
  if (journalShown !== journal.id) {
    journalShown = journal.id;
    shown = STEP;
    entries.clear();
  }
  const items = journal.items.slice(-shown).reverse();
  const nodes = items.map((item) => draw(item, now));
  const parent = byId("journal");
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
  setText(byId("journal-note"), note);
  show(byId("journal-more"), journal.items.length > shown);
}

/** Shows more of it on demand. */
export function listenForMore(redraw) {
  byId("journal-more").addEventListener("click", () => {
    shown += STEP * 4;
    redraw();
  });
}

function draw(item, now) {
  let node = entries.get(item.seq);
  if (!node) {
    node = element("li", { value: item.seq });
    entries.set(item.seq, node);
  }
  node.className = `tone-${item.tone}${item.kind === "looks" ? " looks" : ""}`;
  const { title, who, why, facts, at } = item;
  const wasOpen = node.querySelector("details")?.open ?? false;
  refill(node, { title, who, why, facts, at }, () => build(item, now, wasOpen));
  return node;
}

function build({ title, who, why, facts, at, kind }, now, wasOpen) {
  const said = [
    element("p", { class: "when" }, element("time", { datetime: at ?? "" }, clock(at, now)), ` ${who ?? ""}`),
    element("p", { class: "what" }, title),
  ];
  if (why) said.push(element("p", { class: "why" }, why));
  const list = facts.map(({ text, ok }) =>
    element("li", { class: ok === undefined ? null : ok ? "ok" : "failed" }, ok === undefined ? null : element("span", { class: "unseen" }, ok ? "passed: " : "failed: "), text),
  );
  if (list.length === 0) return said;
  if (kind !== "looks") return [...said, element("ul", { class: "facts-list" }, ...list)];
  const label = `what the last look had to say (${list.length})`;
  return [...said, element("details", { open: wasOpen }, element("summary", {}, label), element("ul", { class: "facts-list" }, ...list))];
}
