// Numbers, spans of time and moments as people read them.
//
// Invariant: every function takes anything at all. What is missing, not a number or not finite is
// shown as DASH, never as "NaN", "null" or "undefined".

export const DASH = "–";

/** A finite number, or null. */
export function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Text that was really given, or null. */
export function text(value) {
  return typeof value === "string" && value.trim() !== "" ? value : null;
}

/** A list, whatever came. */
export function list(value) {
  return Array.isArray(value) ? value : [];
}

/** An object, whatever came. */
export function object(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

/** A whole number with separators; beyond 10^15 in powers of ten, because digits end to mean much. */
export function count(value) {
  const number = finite(value);
  if (number === null) return DASH;
  if (Math.abs(number) >= 1e15) return number.toExponential(2).replace("e+", " × 10^");
  return Math.round(number).toLocaleString("en-US");
}

/** Bytes as people compare them. */
export function bytes(value) {
  const number = finite(value);
  if (number === null || number < 0) return DASH;
  const mebi = number / 2 ** 20;
  return mebi < 1024 ? `${mebi.toFixed(1)} MiB` : `${(mebi / 1024).toFixed(1)} GiB`;
}

/** A count with its noun, in the right number. */
export function counted(value, noun) {
  return `${count(value)} ${value === 1 ? noun : `${noun}s`}`;
}

/** A number of percent, such as 12.5, as text. */
export function percent(value) {
  const number = finite(value);
  if (number === null) return DASH;
  const digits = number !== 0 && Math.abs(number) < 1 ? 2 : Math.abs(number % 1) < 0.05 ? 0 : 1;
  return `${number.toFixed(digits)} %`;
}

/** A fraction of one as percent. */
export function fraction(value) {
  const number = finite(value);
  return number === null ? DASH : percent(number * 100);
}

/** A share of calls as percent; DASH where there was no call. */
export function rate(hits, of) {
  const [some, all] = [finite(hits), finite(of)];
  return some === null || !all ? DASH : fraction(some / all);
}

/** Milliseconds as a latency. */
export function latency(ms) {
  const number = finite(ms);
  if (number === null || number < 0) return DASH;
  if (number < 10) return `${number.toFixed(1)} ms`;
  if (number < 1000) return `${Math.round(number)} ms`;
  if (number < 60_000) return `${(number / 1000).toFixed(number < 10_000 ? 2 : 1)} s`;
  return span(number);
}

/** Milliseconds as a span of time, with its two largest units: "1 h 30 m". */
export function span(ms) {
  const number = finite(ms);
  if (number === null || number < 0) return DASH;
  if (number < 60_000) {
    const seconds = (number / 1000).toFixed(1);
    return `${seconds.endsWith(".0") ? seconds.slice(0, -2) : seconds} s`;
  }
  const whole = Math.floor(number / 1000);
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(" ");
}

const UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 1e-3, µs: 1e-3, ns: 1e-6 };

/** Milliseconds of a span as the server writes it ("1h 30m", "2s 500ms"), or null. */
export function readSpan(value) {
  const written = text(value);
  if (written === null) return null;
  const part = /\s*(\d+(?:\.\d+)?)\s*(d|h|ms|m|s|us|µs|ns)(?![a-zµ])/y;
  let [total, at] = [0, 0];
  while (at < written.trimEnd().length) {
    part.lastIndex = at;
    const found = part.exec(written);
    if (found === null) return null;
    total += Number(found[1]) * UNITS[found[2]];
    at = part.lastIndex;
  }
  return total;
}

/** Milliseconds since 1970 of a timestamp, or null. */
export function moment(value) {
  const written = text(value);
  return written === null ? null : finite(Date.parse(written));
}

const two = (number) => String(number).padStart(2, "0");

/** The visitor's wall time of a timestamp; with its date where that is not the day of `now`. */
export function clock(value, now) {
  const at = moment(value);
  if (at === null) return DASH;
  const date = new Date(at);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (date.toDateString() === new Date(now).toDateString()) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

/** Words that came as `snake_case`. */
export function words(value) {
  return text(value)?.replaceAll("_", " ") ?? DASH;
}
