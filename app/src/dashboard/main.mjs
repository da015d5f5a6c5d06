// The page's life: ask once a second, draw what came, say when nothing comes.
//
// Invariants: one question at a time; none while the page is hidden; what is old is shown as old.

import { Api, problem } from "./api.mjs";
import { moment, object, percent, span, text } from "./model/format.mjs";
import { announcement } from "./model/headline.mjs";
import { emptyJournal, takeEntries } from "./model/journal.mjs";
import { keep, livePoint, withLastLook } from "./model/series.mjs";
import { drawCommands, listenForCommands } from "./view/commands.mjs";
import { byId, setText, show } from "./view/elements.mjs";
import { drawJournal, listenForMore } from "./view/journal.mjs";
import { drawPlots, watchAppearance } from "./view/plots.mjs";
import { drawProgress } from "./view/progress.mjs";
import { drawAlerts, drawLanes, drawPools, drawVerdict } from "./view/tables.mjs";

const EVERY_MS = 1000;
/** Journal entries in one answer, and answers in one round: a long journal comes in a few rounds. */
const PAGE = 1000;
const PAGES = 5;

const api = new Api();
let status = null;
let journal = emptyJournal(null);
let points = [];
/** What stands in the way: `{kind: "away"|"token"|"problem", text}`, or null. */
let trouble = null;
let adminTrouble = null;
let seenAt = null;
let timer = null;
let asking = false;

/** A token may come in the address after `#token=`, which browsers do not send: links that a command prints. */
function takeTokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return;
  api.setToken(given);
  history.replaceState(null, "", location.pathname + location.search);
}

async function poll() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  try {
    await askStatus();
    if (status?.migration && trouble === null) await askJournal();
  } finally {
    asking = false;
    draw();
    // A token that was refused is refused again: it is asked for, not tried each second.
    if (!document.hidden && trouble?.kind !== "token") timer = setTimeout(poll, EVERY_MS);
  }
}

async function askStatus() {
  const answer = await api.get("/v1/status");
  if (answer.status === 200 && answer.data !== null) {
    trouble = null;
    seenAt = Date.now();
    points = keep(points, livePoint(seenAt, answer.data));
    take(answer.data);
  } else if (answer.status === 401) {
    trouble = { kind: "token", text: problem(answer) };
  } else {
    trouble = { kind: answer.status === 0 ? "away" : "problem", text: problem(answer) };
  }
}

function take(next) {
  const said = announcement(status?.migration, next.migration);
  if (said !== null && status !== null) setText(byId("announcer"), said);
  status = next;
  const id = text(object(next.migration).id);
  if (id !== journal.id) journal = emptyJournal(id);
}

async function askJournal() {
  if (!api.hasToken) {
    adminTrouble = null;
    return;
  }
  if (adminTrouble?.kind === "token") return;
  const last = Number(object(status.migration).last_seq ?? Infinity);
  for (let page = 0; page < PAGES && journal.lastSeq < last; page += 1) {
    const id = encodeURIComponent(journal.id);
    const answer = await api.get(`/admin/v1/migrations/${id}/events?after=${journal.lastSeq}&limit=${PAGE}`);
    if (answer.status !== 200) {
      adminTrouble = { kind: answer.status === 401 ? "token" : "problem", text: problem(answer) };
      return;
    }
    adminTrouble = null;
    if (!takeEntries(journal, object(answer.data).events)) return;
  }
}

function draw() {
  const now = Date.now();
  drawConnection(now);
  drawToken();
  drawCommands(status?.migration);
  if (status === null) return;
  const { migration, version, host } = status;
  document.title = title(migration);
  setText(byId("version"), version);
  setText(byId("host"), `CPU ${percent(object(host).cpu_percent)}, memory ${percent(object(host).memory_percent)}`);
  drawProgress(migration, journal.plan, now);
  drawVerdict(status, journal.plan);
  drawAlerts(migration, now);
  drawLanes(status);
  drawPools(status);
  drawJournal(journal, journalNote(migration), now);
  const ofJournal = journal.points.length > 1;
  const note = ofJournal ? "Of every look in the journal. Dotted: a stage began." : "Since this page was opened.";
  drawPlots(ofJournal ? withLastLook(journal, migration) : points, ofJournal ? journal.marks : [], note);
}

function title(migration) {
  const { phase, percent: share } = object(migration);
  return text(phase) === null ? "dspex" : `${percent(share)} ${phase.replaceAll("_", " ")} · dspex`;
}

function journalNote(migration) {
  if (!migration) return "There has been no migration yet.";
  if (!api.hasToken) return "The journal needs the admin token.";
  if (adminTrouble !== null) return adminTrouble.text;
  return journal.items.length === 0 ? "Being read." : "";
}

function drawConnection(now) {
  const pill = byId("connection");
  const age = seenAt === null ? null : now - seenAt;
  const old = trouble !== null;
  const said = { away: "server away", token: "token wanted", problem: "no data" };
  setText(pill, old ? said[trouble.kind] : age === null ? "connecting" : "live");
  pill.className = `pill ${old ? "bad" : age === null ? "calm" : "good"}`;
  const since = age === null ? "" : ` What is shown is ${span(Math.round(age / 1000) * 1000)} old.`;
  const stale = old && trouble.kind !== "token";
  show(byId("stale"), stale);
  // Said once, not each second: the age changes, the alert does not.
  const banner = byId("stale");
  if (stale) {
    if (banner.firstChild?.nodeValue !== trouble.text) banner.replaceChildren(trouble.text, document.createElement("span"));
    banner.lastChild.setAttribute("aria-hidden", "true");
    setText(banner.lastChild, since);
  }
  document.body.classList.toggle("old", old && status !== null);
}

function drawToken() {
  const refused = [trouble, adminTrouble].find((one) => one?.kind === "token");
  const wanted = refused !== undefined || (!api.hasToken && Boolean(status?.migration));
  show(byId("token-panel"), wanted);
  show(byId("forget-token"), api.hasToken);
  setText(byId("token-problem"), refused && api.hasToken ? refused.text : "");
}

function needToken(why) {
  show(byId("token-panel"), true);
  setText(byId("token-problem"), why);
  byId("token").focus();
}

/** Saves what needs a token, which a plain link would not send. */
async function saveRaw(event, path, name) {
  if (!api.hasToken) return;
  event.preventDefault();
  const answer = await api.get(path);
  save(new Blob([JSON.stringify(answer.data, null, 2)], { type: "application/json" }), name);
}

/** Saves the report: a page of its own, which opens without this server. */
async function saveReport(event) {
  event.preventDefault();
  if (!api.hasToken) return needToken("The report needs the admin token.");
  const answer = await api.page("/admin/v1/migrations/current/report");
  if (answer.status !== 200) return setText(byId("announcer"), problem(answer));
  save(new Blob([answer.data], { type: "text/html" }), "dspex-report.html");
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function listen() {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.setToken(byId("token").value);
    byId("token").value = "";
    adminTrouble = null;
    poll();
  });
  byId("forget-token").addEventListener("click", () => {
    api.setToken(null);
    adminTrouble = null;
    journal = emptyJournal(journal.id);
    draw();
  });
  byId("raw-journal").addEventListener("click", (event) =>
    saveRaw(event, `/admin/v1/migrations/current/events?limit=${PAGE}`, "dspex-journal.json"),
  );
  byId("report").addEventListener("click", saveReport);
  byId("raw-status").addEventListener("click", (event) => saveRaw(event, "/v1/status", "dspex-status.json"));
  listenForCommands(api, needToken, (migration) => {
    if (status !== null && moment(migration?.started_at) !== null) take({ ...status, migration });
    draw();
    poll();
  });
  listenForMore(draw);
  watchAppearance(draw);
  document.addEventListener("visibilitychange", poll);
}

takeTokenFromAddress();
listen();
draw();
poll();
