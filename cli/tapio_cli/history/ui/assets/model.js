// The marks of one TapioCluster as columns. Counting what lies between two places takes two binary searches, whatever
// the number of marks: each lane holds, for every kind, how many of it came before.

export const KINDS = ["fact", "decision", "outcome", "timer", "admission", "failure"];
export const FAILURE = KINDS.indexOf("failure");

export function lowerBound(values, wanted) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low;
}

class Lane {
  constructor(name) {
    this.name = name;
    this.numbers = [];
    this.states = [];
  }

  // `places[number]` is where a mark stands, on the axis that is in use.
  index(places, kinds, ranks) {
    const sorted = this.numbers.sort((one, other) => ranks[one] - ranks[other]);
    this.places = Float64Array.from(sorted, (number) => places[number]);
    this.before = KINDS.map(() => new Uint32Array(sorted.length + 1));
    sorted.forEach((number, index) => {
      for (let kind = 0; kind < KINDS.length; kind += 1) this.before[kind][index + 1] = this.before[kind][index];
      this.before[kinds[number]][index + 1] += 1;
    });
  }
}

export class Marks {
  constructor(document) {
    this.cluster = document.cluster;
    this.at = [];
    this.revision = [];
    this.kind = [];
    this.lanes = [];
    this.axis = "time";
    this.shown = KINDS.map(() => true);
    this.take(document);
  }

  get count() { return this.at.length; }

  // Take in marks that follow those that are known.
  take(document) {
    for (let index = 0; index < document.at.length; index += 1) {
      this.at.push(document.at[index]);
      this.revision.push(document.revision[index]);
      this.kind.push(document.bad[index] ? FAILURE : KINDS.indexOf(document.whats[document.what[index]]));
    }
    this.window = document.window;
    const known = new Map(this.lanes.map((lane) => [lane.name, lane]));
    this.lanes = document.lanes.map(({ name, marks, states }) => {
      const lane = known.get(name) ?? new Lane(name);
      for (const number of marks) lane.numbers.push(number);
      lane.states = states;
      return lane;
    });
    this.index();
  }

  index() {
    const order = Array.from(this.at, (_, number) => number);
    order.sort((one, other) => this.at[one] - this.at[other] || this.revision[one] - this.revision[other]);
    this.order = order;
    this.rank = new Uint32Array(this.count);
    order.forEach((number, rank) => { this.rank[number] = rank; });
    this.times = Float64Array.from(order, (number) => this.at[number]);
    this.places = this.axis === "time" ? this.at : this.rank;
    for (const lane of this.lanes) lane.index(this.places, this.kind, this.rank);
    this.all = Float64Array.from(order, (number) => this.places[number]);
  }

  setAxis(axis) { this.axis = axis; this.index(); }

  // Lanes that hold anything, from top to bottom.
  get rows() { return this.lanes.filter((lane) => lane.numbers.length || lane.states.length); }

  get range() {
    if (!this.count) return [0, 1];
    const first = this.all[0];
    const last = this.all[this.all.length - 1];
    const room = Math.max((last - first) * 0.02, this.axis === "time" ? 20 : 1);
    return [first - room, last + room];
  }

  // How many marks of each kind that is shown stand in [low, high) of a lane, and all together.
  counted(lane, low, high) {
    const first = lowerBound(lane.places, low);
    const last = lowerBound(lane.places, high);
    let total = 0;
    const kinds = KINDS.map((_, kind) => {
      const count = this.shown[kind] ? lane.before[kind][last] - lane.before[kind][first] : 0;
      total += count;
      return count;
    });
    return { total, kinds, first, last };
  }

  // The marks of a lane in [low, high) that are shown, at most `most` of them, the newest first.
  between(lane, low, high, most) {
    const found = [];
    const first = lowerBound(lane.places, low);
    for (let index = lowerBound(lane.places, high) - 1; index >= first && found.length < most; index -= 1) {
      if (this.shown[this.kind[lane.numbers[index]]]) found.push(lane.numbers[index]);
    }
    return found;
  }

  // The marks before and after a rank, of one lane or of all; those that are hidden are passed over.
  step(rank, by, lane) {
    const wanted = lane && new Set(lane.numbers);
    const direction = Math.sign(by);
    let left = Math.abs(by);
    let found = null;
    for (let place = rank + direction; place >= 0 && place < this.count && left > 0; place += direction) {
      const number = this.order[place];
      if (this.shown[this.kind[number]] && (!wanted || wanted.has(number))) { found = number; left -= 1; }
    }
    return found;
  }

  // Numbers around a rank, oldest first.
  around(rank, before, after, lane) {
    const wanted = lane && new Set(lane.numbers);
    const fits = (number) => this.shown[this.kind[number]] && (!wanted || wanted.has(number));
    const found = [];
    for (let place = Math.min(rank, this.count - 1); place >= 0 && found.length < before; place -= 1) {
      if (fits(this.order[place])) found.unshift(this.order[place]);
    }
    for (let place = rank + 1, more = 0; place < this.count && more < after; place += 1) {
      if (fits(this.order[place])) { found.push(this.order[place]); more += 1; }
    }
    return found;
  }

  // The rank of the last mark up to a time; -1 before the first.
  rankAt(at) { return lowerBound(this.times, at + 1) - 1; }

  // Where a time stands on the axis that is in use.
  placeOf(at) { return this.axis === "time" ? at : Math.max(this.rankAt(at), 0); }

  stateAt(lane, at) {
    let found = "";
    let low = 0;
    let high = lane.states.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (lane.states[middle][0] <= at) { found = lane.states[middle][1]; low = middle + 1; } else high = middle;
    }
    return found;
  }
}
