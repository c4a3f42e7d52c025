// Figures as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** What is shown where nothing is known. */
export const NONE = "–";

const GIB = 1024 ** 3;

export function count(value) {
  return value == null ? NONE : whole.format(value);
}

/** A rate or an average: as many digits as mean something. */
export function rate(value) {
  if (value == null) return NONE;
  if (value !== 0 && Math.abs(value) < 1) return hundredths.format(value);
  return Math.abs(value) < 100 && !Number.isInteger(value) ? tenths.format(value) : whole.format(value);
}

/** Milliseconds. */
export function duration(ms) {
  if (ms == null) return NONE;
  if (ms < 10 && !Number.isInteger(ms)) return `${tenths.format(ms)} ms`;
  if (ms < 1000) return `${whole.format(ms)} ms`;
  if (ms < 60_000) return `${tenths.format(ms / 1000)} s`;
  return ago(ms);
}

/** Milliseconds, roughly: "12 s", "3 min", "2 h". */
export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 36 ? `${hours} h` : `${Math.round(hours / 24)} d`;
}

export function gibibytes(bytes) {
  if (bytes == null) return NONE;
  const value = bytes / GIB;
  return `${value < 100 ? tenths.format(value) : whole.format(value)} GiB`;
}

export function percent(part, all) {
  return all > 0 ? `${whole.format((100 * part) / all)} %` : NONE;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** A time the server told: milliseconds since 1970, or text. */
export function instant(value) {
  if (value == null) return null;
  const time = new Date(value);
  return Number.isNaN(time.getTime()) ? null : time;
}

/** The time of day, with the day when it is not today. */
export function moment(value) {
  const time = instant(value);
  if (!time) return NONE;
  const today = new Date().toDateString() === time.toDateString();
  return today ? clock.format(time) : `${day.format(time)} ${clock.format(time)}`;
}

export function hourAndMinute(time) {
  return minute.format(time);
}
