// Instants and spans as people read them. All of it is UTC, as the commands write it.

const two = (value) => String(value).padStart(2, "0");

export function clock(at, { date = false, milliseconds = true } = {}) {
  const one = new Date(at);
  const day = `${one.getUTCFullYear()}-${two(one.getUTCMonth() + 1)}-${two(one.getUTCDate())}`;
  const time = `${two(one.getUTCHours())}:${two(one.getUTCMinutes())}:${two(one.getUTCSeconds())}`;
  const rest = milliseconds ? `.${String(one.getUTCMilliseconds()).padStart(3, "0")}` : "";
  return `${date ? `${day} ` : ""}${time}${rest}`;
}

export const iso = (at) => new Date(Math.floor(at)).toISOString();

const UNITS = [[86_400_000, "day"], [3_600_000, "hour"], [60_000, "minute"], [1000, "second"]];

export function span(milliseconds) {
  for (const [size, name] of UNITS) {
    if (milliseconds >= size) {
      const count = Math.round(milliseconds / size);
      return `${count} ${name}${count === 1 ? "" : "s"}`;
    }
  }
  return `${Math.round(milliseconds)} ms`;
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000,
  1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000, 2_592_000_000];

export function ticks(low, high, most) {
  const least = (high - low) / Math.max(most, 1);
  const step = STEPS.find((one) => one >= least) ?? Math.ceil(least / 2_592_000_000) * 2_592_000_000;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
  const label = (at) => {
    const one = new Date(at);
    if (step >= 86_400_000) return iso(at).slice(0, 10);
    if (step >= 60_000) return (one.getUTCHours() || one.getUTCMinutes()) ? iso(at).slice(11, 16) : iso(at).slice(5, 10);
    return step >= 1000 ? iso(at).slice(11, 19) : iso(at).slice(11, 23);
  };
  return found.map((at) => [at, label(at)]);
}

// An object by its kind and name; its group and namespace are told where there is room for them.
export const short = (about) => about.replace(/^(\w+)\.\S+ /, "$1 ").replace(/ [^ /]+\//, " ");

export function make(tag, properties = {}, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") one.className = value;
    else if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
    else one.setAttribute(name, value === true ? "" : value);
  }
  one.append(...children.filter((child) => child !== null && child !== undefined));
  return one;
}
