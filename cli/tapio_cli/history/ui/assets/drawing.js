// Draws lanes and overview. What is drawn is bound by the room there is and not by the number of marks: marks that share
// a column become one bar, as high as they are many, with a share for each kind.

import { KINDS, FAILURE, lowerBound } from "./model.js";
import { clock, ticks } from "./format.js";

export const ROW = 34;
export const AXIS = 26;
const COLUMN = 8;
const WORST = ["Failed", "Stalled", "Degraded", "Waiting", "Pending", "Progressing", "Deleting", "Unavailable", "Paused", "Ready"];

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: read("ink"), faint: read("faint"), line: read("line"), row: read("row"), accent: read("accent"),
    surface: read("surface"), gap: read("gap"), kinds: KINDS.map((kind) => read(kind)),
    state: (state) => read(`state-${state.toLowerCase()}`) || read("faint"),
  };
}

export function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

export function glyph(context, kind, x, y, size, colour, surface) {
  context.fillStyle = colour;
  context.strokeStyle = surface;
  context.lineWidth = 1.5;
  context.beginPath();
  switch (KINDS[kind]) {
    case "decision":
      context.moveTo(x, y - size - 1); context.lineTo(x + size + 1, y); context.lineTo(x, y + size + 1); context.lineTo(x - size - 1, y);
      context.closePath();
      break;
    case "admission":
      context.moveTo(x, y - size - 0.5); context.lineTo(x + size + 0.5, y + size); context.lineTo(x - size - 0.5, y + size);
      context.closePath();
      break;
    case "outcome":
      context.roundRect(x - size + 0.5, y - size + 0.5, 2 * size - 1, 2 * size - 1, 2);
      break;
    case "timer":
      context.roundRect(x - 1.5, y - size, 3, 2 * size, 1.5);
      break;
    case "failure":
      context.lineWidth = 3;
      context.strokeStyle = colour;
      context.moveTo(x - size + 1, y - size + 1); context.lineTo(x + size - 1, y + size - 1);
      context.moveTo(x + size - 1, y - size + 1); context.lineTo(x - size + 1, y + size - 1);
      context.stroke();
      return;
    default:
      context.arc(x, y, size - 0.5, 0, 2 * Math.PI);
  }
  context.fill();
  context.stroke();
}

function bar(context, counted, x, middle, colour) {
  const height = Math.min(ROW - 12, 8 + 3.2 * Math.log2(counted.total));
  let top = middle - height / 2;
  context.save();
  context.beginPath();
  context.roundRect(x - 3, top, 6, height, 3);
  context.clip();
  // Failures first, and never too small to be seen.
  for (const kind of [FAILURE, 1, 4, 2, 3, 0]) {
    if (!counted.kinds[kind]) continue;
    const share = Math.max((height * counted.kinds[kind]) / counted.total, kind === FAILURE ? 4 : 2);
    context.fillStyle = colour.kinds[kind];
    context.fillRect(x - 3, top, 6, share);
    top += share;
  }
  context.restore();
}

function bands(context, marks, lane, view, top, width, colour) {
  const { states } = lane;
  let last = null;
  const fill = (state, from, to) => {
    if (!state || to <= from) return;
    context.fillStyle = colour.state(state);
    context.globalAlpha = 0.1;
    context.fillRect(from, top + 2, to - from, ROW - 4);
    context.globalAlpha = 1;
    context.fillRect(from, top + ROW - 5, to - from, 3);
  };
  // One rectangle a pixel at most, of the worst state in it.
  for (let index = 0; index < states.length; index += 1) {
    const [at, state] = states[index];
    const ends = index + 1 < states.length ? marks.placeOf(states[index + 1][0]) : view.high;
    const from = Math.max(view.x(marks.placeOf(at)), 0);
    const to = Math.min(view.x(ends), width);
    if (to < 0 || from > width) continue;
    if (last && from < last.to && to - from < 1) {
      if (state && (WORST.indexOf(state) < WORST.indexOf(last.state) || !last.state)) last.state = state;
      last.to = Math.max(last.to, to);
      continue;
    }
    if (last) fill(last.state, last.from, last.to);
    last = { state, from, to: Math.max(to, Math.min(from + 1, width)) };
  }
  if (last) fill(last.state, last.from, last.to);
}

// Answers what was drawn: for each row the bins, so that a pointer finds what it points at.
export function drawLanes(canvas, marks, view, { width, row, selected, cursor, colour }) {
  const rows = marks.rows;
  const height = AXIS + rows.length * ROW;
  const context = sized(canvas, width, height);
  let drawn = 0;
  axis(context, marks, view, width, height, colour);
  rows.forEach((lane, index) => {
    const top = AXIS + index * ROW;
    if (row === index) {
      context.fillStyle = colour.row;
      context.fillRect(0, top, width, ROW);
    }
    bands(context, marks, lane, view, top, width, colour);
    context.strokeStyle = colour.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, top + ROW - 0.5);
    context.lineTo(width, top + ROW - 0.5);
    context.stroke();
    const middle = top + ROW / 2 - 1;
    for (let x = 0; x < width; x += COLUMN) {
      const counted = marks.counted(lane, view.place(x), view.place(x + COLUMN));
      if (!counted.total) continue;
      drawn += 1;
      if (counted.total === 1) {
        const kind = counted.kinds.findIndex((count) => count > 0);
        const at = counted.last - counted.first === 1 ? view.x(lane.places[counted.first]) : x + COLUMN / 2;
        glyph(context, kind, at, middle, 5, colour.kinds[kind], colour.surface);
      } else {
        bar(context, counted, x + COLUMN / 2, middle, colour);
      }
    }
  });
  if (marks.window === null || marks.window.from > marks.at[marks.order[0]]) gap(context, marks, view, width, height, colour);
  if (cursor !== null) line(context, view.x(cursor), height, colour);
  if (selected !== null) {
    rows.forEach((lane, index) => {
      if (!lane.numbers.includes(selected)) return;
      context.strokeStyle = colour.accent;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(view.x(marks.places[selected]), AXIS + index * ROW + ROW / 2 - 1, 9, 0, 2 * Math.PI);
      context.stroke();
    });
  }
  canvas.dataset.drawn = drawn;
  canvas.dataset.most = Math.ceil(width / COLUMN) * rows.length;
  canvas.dataset.marks = marks.count;
}

function axis(context, marks, view, width, height, colour) {
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "center";
  const label = (x, text) => {
    context.strokeStyle = colour.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, AXIS - 6);
    context.lineTo(Math.round(x) + 0.5, height);
    context.stroke();
    context.fillStyle = colour.faint;
    const half = context.measureText(text).width / 2 + 2;
    context.fillText(text, Math.min(Math.max(x, half), width - half), AXIS / 2 - 2);
  };
  if (marks.axis === "time") {
    for (const [at, text] of ticks(view.low, view.high, Math.floor(width / 110))) label(view.x(at), text);
    return;
  }
  const columns = Math.max(Math.floor(width / 130), 1);
  const step = Math.max(Math.ceil((view.high - view.low) / columns), 1);
  for (let rank = Math.max(Math.ceil(view.low / step) * step, 0); rank <= Math.min(view.high, marks.count - 1); rank += step) {
    label(view.x(rank), clock(marks.at[marks.order[rank]], { milliseconds: false }));
  }
}

// The part of the time line for which the history is not complete.
function gap(context, marks, view, width, height, colour) {
  const to = marks.window === null ? width : Math.min(view.x(marks.placeOf(marks.window.from)), width);
  if (to <= 0) return;
  context.fillStyle = colour.gap;
  context.fillRect(0, AXIS, to, height - AXIS);
}

function line(context, x, height, colour) {
  context.strokeStyle = colour.accent;
  context.fillStyle = colour.accent;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(x, AXIS - 8);
  context.lineTo(x, height);
  context.stroke();
  context.beginPath();
  context.moveTo(x - 6, AXIS - 14);
  context.lineTo(x + 6, AXIS - 14);
  context.lineTo(x + 6, AXIS - 9);
  context.lineTo(x, AXIS - 2);
  context.lineTo(x - 6, AXIS - 9);
  context.closePath();
  context.fill();
}

export const OVERVIEW = 40;

export function drawOverview(canvas, marks, view, { width, cursor, colour }) {
  const context = sized(canvas, width, OVERVIEW);
  const [low, high] = marks.range;
  const x = (place) => ((place - low) / (high - low)) * width;
  const columns = Math.max(Math.floor(width / 3), 1);
  const counts = [];
  for (let index = 0; index < columns; index += 1) {
    const from = low + ((high - low) * index) / columns;
    counts.push(lowerBound(marks.all, low + ((high - low) * (index + 1)) / columns) - lowerBound(marks.all, from));
  }
  const most = Math.log2(1 + Math.max(...counts, 1));
  context.fillStyle = colour.faint;
  counts.forEach((count, index) => {
    if (!count) return;
    const height = Math.max((Math.log2(1 + count) / most) * (OVERVIEW - 12), 2);
    context.fillRect((index * width) / columns, OVERVIEW - 4 - height, Math.max(width / columns - 1, 1), height);
  });
  const from = Math.max(x(view.low), 0);
  const to = Math.min(x(view.high), width);
  context.fillStyle = colour.accent;
  context.globalAlpha = 0.14;
  context.fillRect(from, 0, Math.max(to - from, 3), OVERVIEW);
  context.globalAlpha = 1;
  context.strokeStyle = colour.accent;
  context.lineWidth = 1;
  context.strokeRect(from + 0.5, 0.5, Math.max(to - from, 3) - 1, OVERVIEW - 1);
  if (cursor !== null) {
    context.fillStyle = colour.accent;
    context.fillRect(x(cursor) - 1, 0, 2, OVERVIEW);
  }
}
