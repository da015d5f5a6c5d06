// Building the page's elements.
//
// Invariant: text becomes a text node and nothing else. There is no way here to put markup into the
// page from a string.

/** An element by its id. */
export function byId(id) {
  return document.getElementById(id);
}

/** An element with attributes (`class`, `data-…`, `title`, …) and children (nodes or text). */
export function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets text, only where it changed: a selection or a screen reader is not disturbed for nothing. */
export function setText(node, said) {
  const wanted = said ?? "";
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Shows or hides. */
export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

const drawn = new WeakMap();

/** Builds the children anew, only where what they are built from has changed. */
export function refill(node, model, build) {
  const key = JSON.stringify(model);
  if (drawn.get(node) === key) return;
  drawn.set(node, key);
  node.replaceChildren(...build(model));
}

/** A table: a caption for those who do not see it, column heads, rows of cells. */
export function table(caption, heads, rows) {
  return element(
    "table",
    {},
    element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...heads.map((head) => (head instanceof Node ? head : element("th", { scope: "col" }, head))))),
    element("tbody", {}, ...rows),
  );
}
