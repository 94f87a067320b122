// The page: what is chosen, what that shows, and how pointer and keys choose.

import * as api from "./api.js";
import { AXIS, ROW, colours, drawLanes, drawOverview } from "./drawing.js";
import { clock, iso, make, short, span } from "./format.js";
import { EVERYWHERE, KEYS, pressed } from "./keys.js";
import { showMark, showNothing, showObject } from "./details.js";
import { KINDS, Marks } from "./model.js";
import { Tree } from "./tree.js";

const $ = (id) => document.getElementById(id);
const LISTED = [60, 24];
const TOLD = 6;

class Page {
  constructor() {
    this.marks = null;
    this.view = { low: 0, high: 1 };
    this.cursor = null; // {at, revision, number}: an instant, and the mark that it was chosen by, if any
    this.row = -1;
    this.following = false;
    this.live = false;
    this.colour = colours();
    this.tree = new Tree($("tree"), (name) => this.openObject(name));
    this.askAt = api.newest(api.at, (answer) => this.showAt(answer), (error) => this.refused(error));
    this.askMark = api.newest(api.mark, (answer) => { showMark($("details"), answer); this.say(answer); }, (error) => this.trouble(error));
    this.askList = api.newest(api.events, (answer) => this.showList(answer), (error) => this.trouble(error));
    this.askTip = api.newest(api.events, (answer) => this.showTip(answer), () => {});
  }

  // --- what is chosen ---------------------------------------------------------------------------------------------

  async open(cluster, instant) {
    this.stop?.();
    $("timeline").setAttribute("aria-busy", "true");
    this.marks = new Marks(await api.marks(cluster));
    this.row = -1;
    document.title = `${cluster} · Tapio history`;
    this.fit();
    this.names();
    showNothing($("details"));
    $("timeline").removeAttribute("aria-busy");
    const [, revision] = /^@(\d+)$/.exec(instant ?? "") ?? [];
    const chosen = revision === undefined ? -1 : this.marks.revision.indexOf(Number(revision));
    if (chosen >= 0) this.choose(chosen); else this.end(1, { quiet: true });
    if (this.live) {
      this.setFollow(chosen < 0);
      this.stop = api.follow(cluster, this.marks.count, {
        told: (news) => this.told(news),
        trouble: (sentence) => this.trouble(new Error(sentence)),
        again: () => this.open(cluster).catch((error) => this.trouble(error)),
      });
    }
  }

  told(news) {
    this.trouble(null);
    const [, before] = this.marks.range;
    const wasAll = this.view.high >= before;
    const rows = this.marks.rows.length;
    this.marks.take(news);
    if (wasAll) {
      const [low, high] = this.marks.range;
      this.view = this.zoomed ? { low: this.view.low + high - this.view.high, high } : { low, high };
    }
    if (rows !== this.marks.rows.length) this.row = -1;
    this.names();
    if (this.following && news.at.length) this.end(1); else this.draw();
    this.list();
  }

  // Choose a mark: the instant becomes its own.
  choose(number, { read = true } = {}) {
    if (number === null || number === undefined) return;
    this.cursor = { at: this.marks.at[number], revision: this.marks.revision[number], number };
    this.reveal(this.marks.places[number]);
    this.chosen();
    if (read) this.askMark(this.marks.cluster, number);
  }

  // Choose an instant of the axis, whatever mark stands there.
  scrub(place) {
    const [low, high] = this.marks.range;
    const within = Math.min(Math.max(place, low), high);
    this.setFollow(false);
    if (this.marks.axis === "order") {
      const rank = Math.min(Math.max(Math.round(within), 0), this.marks.count - 1);
      const number = this.marks.order[rank];
      this.cursor = { at: this.marks.at[number], revision: this.marks.revision[number], number: null };
    } else {
      const last = this.marks.at[this.marks.order[this.marks.count - 1]];
      const first = this.marks.window ? this.marks.window.from : -Infinity;
      this.cursor = { at: Math.floor(Math.max(Math.min(within, last), first)), revision: 0, number: null };
    }
    this.chosen();
  }

  chosen() {
    const { at, revision, number } = this.cursor;
    const instant = revision ? `@${revision}` : iso(at);
    const last = this.marks.at[this.marks.order[this.marks.count - 1]];
    $("instant").textContent = `${clock(at, { date: true })} UTC`;
    $("revision").textContent = [revision ? `@${revision}` : "", at < last ? `${span(last - at)} before the end` : "the newest"].filter(Boolean).join(" · ");
    const slider = $("timeline");
    slider.setAttribute("aria-valuemax", String(Math.max(this.marks.count - 1, 0)));
    slider.setAttribute("aria-valuenow", String(this.rank));
    slider.setAttribute("aria-valuetext", `${clock(at, { date: true })} UTC${revision ? `, revision ${revision}` : ""}`);
    history.replaceState(null, "", `#${new URLSearchParams({ cluster: this.marks.cluster, ...(number !== null && revision ? { at: instant } : {}) })}`);
    this.states();
    this.draw();
    this.list();
    this.askAt(this.marks.cluster, instant);
  }

  get rank() {
    if (this.cursor === null) return 0;
    return this.cursor.number !== null ? this.marks.rank[this.cursor.number] : this.marks.rankAt(this.cursor.at);
  }

  get chosenLane() { return this.row < 0 ? null : this.marks.rows[this.row]; }

  // --- keys -------------------------------------------------------------------------------------------------------

  step(by) {
    this.setFollow(false);
    // From an instant between marks, the mark before is the one that the instant shows.
    const rank = this.cursor?.number === null && by < 0 ? this.rank + 1 : this.rank;
    this.choose(this.marks.step(rank, by, this.chosenLane));
  }

  end(direction, { quiet = false } = {}) {
    if (direction < 0) this.setFollow(false);
    const from = direction < 0 ? -1 : this.marks.count;
    const number = this.marks.step(from, -direction, this.chosenLane);
    if (number !== null) this.choose(number, { read: !quiet });
  }

  lane(by) {
    this.row = Math.min(Math.max(this.row + by, -1), this.marks.rows.length - 1);
    this.names();
    this.draw();
    this.list();
    const lane = this.chosenLane;
    const state = lane && this.marks.stateAt(lane, this.cursor.at);
    this.speak(lane ? `Lane ${lane.name}, ${lane.numbers.length} marks${state ? `, ${state}` : ""}` : "All lanes");
    $("names").children[this.row]?.scrollIntoView({ block: "nearest" });
  }

  read() {
    if (this.cursor.number === null) this.step(-1);
    this.focus("details");
  }

  zoom(factor, around = this.cursor ? this.marks.placeOf(this.cursor.at) : (this.view.low + this.view.high) / 2) {
    const [low, high] = this.marks.range;
    const least = this.marks.axis === "time" ? 20 : 6;
    const width = Math.min(Math.max((this.view.high - this.view.low) * factor, least), high - low);
    const share = Math.min(Math.max((around - this.view.low) / (this.view.high - this.view.low), 0), 1);
    this.show(around - share * width, width);
  }

  show(from, width) {
    const [low, high] = this.marks.range;
    const begin = Math.min(Math.max(from, low), Math.max(high - width, low));
    this.view = { low: begin, high: begin + width };
    this.zoomed = width < (high - low) * 0.999;
    this.draw();
  }

  fit() {
    const [low, high] = this.marks.range;
    this.view = { low, high };
    this.zoomed = false;
    this.draw();
  }

  reveal(place) {
    const width = this.view.high - this.view.low;
    if (place < this.view.low || place > this.view.high) this.show(place - width / 2, width);
  }

  turnAxis(axis = this.marks.axis === "time" ? "order" : "time") {
    this.marks.setAxis(axis);
    $("by-time").setAttribute("aria-pressed", String(axis === "time"));
    $("by-order").setAttribute("aria-pressed", String(axis === "order"));
    this.fit();
    this.speak(axis === "time" ? "Distance is time" : "Every mark has the same room");
  }

  turnFollow() {
    if (!this.live) { this.speak("An archive does not grow"); return; }
    this.setFollow(!this.following);
    if (this.following) this.end(1);
    this.speak(this.following ? "Following" : "Not following");
  }

  setFollow(on) {
    this.following = on && this.live;
    $("follow").setAttribute("aria-pressed", String(this.following));
  }

  focus(id) {
    const found = id === "tree" ? $("tree").querySelector("[tabindex='0']") : $(id);
    found?.focus();
  }

  help() { $("keys").showModal(); }

  // --- what is shown ----------------------------------------------------------------------------------------------

  scale(width) {
    const { low, high } = this.view;
    return { low, high, x: (place) => ((place - low) / (high - low)) * width, place: (x) => low + (x / width) * (high - low) };
  }

  draw() {
    if (this.pending || !this.marks) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      const cursor = this.cursor && (this.cursor.number === null ? this.marks.placeOf(this.cursor.at) : this.marks.places[this.cursor.number]);
      const width = $("timeline").clientWidth;
      drawLanes($("lanes"), this.marks, this.scale(width), { width, row: this.row, selected: this.cursor?.number ?? null, cursor, colour: this.colour });
      drawOverview($("overview"), this.marks, this.view, { width: $("timeline").clientWidth, cursor, colour: this.colour });
    });
  }

  names() {
    $("names").replaceChildren(...this.marks.rows.map((lane, index) => make("li", {
      class: index === this.row ? "chosen" : "", "data-lane": lane.name,
      onclick: () => { this.row = this.row === index ? 0 : index; this.lane(this.row === index ? 0 : -1); },
    }, make("i", { class: "dot", "aria-hidden": "true" }), make("span", { class: "name" }, lane.name), make("span", { class: "said" }))));
    this.states();
  }

  // How every lane stands at the instant.
  states() {
    if (!this.cursor) return;
    [...$("names").children].forEach((item, index) => {
      const lane = this.marks.rows[index];
      const state = this.marks.stateAt(lane, this.cursor.at);
      item.dataset.state = state;
      item.querySelector(".said").textContent = state;
    });
    const phase = this.marks.stateAt(this.marks.rows.find((lane) => lane.name === "TapioCluster") ?? { states: [] }, this.cursor.at);
    $("phase").hidden = !phase;
    $("phase").textContent = phase;
    $("phase").dataset.state = phase;
  }

  showAt(answer) {
    $("tree-note").hidden = true;
    $("tree").dataset.revision = answer.revision;
    const objects = answer.tree.reduce((sum, branch) => sum + branch.objects.length, 0);
    $("tree-count").textContent = `${objects} at @${answer.revision}`;
    this.tree.show(answer.tree);
  }

  refused(error) {
    $("tree").replaceChildren();
    $("tree").dataset.revision = "";
    $("tree-count").textContent = "";
    $("tree-note").hidden = false;
    $("tree-note").textContent = error.message;
  }

  async openObject(name) {
    try {
      showObject($("details"), await api.object(this.marks.cluster, `@${$("tree").dataset.revision}`, name));
    } catch (error) {
      this.trouble(error);
    }
  }

  list() {
    const numbers = this.marks.around(this.rank, ...LISTED, this.chosenLane);
    $("list-count").textContent = this.chosenLane ? `${this.chosenLane.name}` : `${this.marks.count.toLocaleString("en")} marks`;
    if (numbers.length) this.askList(this.marks.cluster, numbers); else $("list").replaceChildren();
  }

  showList(events) {
    const chosen = this.cursor.number;
    const rank = this.rank;
    $("list").replaceChildren(...events.map((one) => make("li", {
      id: `event-${one.number}`, role: "option", "data-number": one.number, "aria-selected": String(one.number === chosen),
      class: this.marks.rank[one.number] > rank ? "later" : "",
    }, make("time", { datetime: one.when }, one.when.slice(11, 23)), make("i", { class: `glyph ${one.bad ? "failure" : one.what}`, "aria-hidden": "true" }),
      make("span", { class: "sr" }, `${one.what}: `),
      make("span", { class: "line" }, one.about ? make("b", { title: one.about }, `${short(one.about)} `) : null, one.text, one.user ? ` by ${one.user}` : ""))));
    const last = chosen === null ? [...$("list").children].filter((item) => !item.classList.contains("later")).at(-1) : $(`event-${chosen}`);
    $("list").setAttribute("aria-activedescendant", chosen === null ? "" : `event-${chosen}`);
    if (last) $("list").scrollTop = last.offsetTop - $("list").clientHeight / 2;
  }

  say(one) { this.speak(`${one.bad ? "failed " : ""}${one.what}, ${one.when.slice(11, 19)}${one.revision ? `, revision ${one.revision}` : ""}, ${one.about} ${one.text}`); }

  speak(text) { $("spoken").textContent = text; }

  trouble(error) {
    $("trouble").hidden = !error;
    $("trouble").textContent = error?.message ?? "";
  }

  // --- pointer ----------------------------------------------------------------------------------------------------

  // The marks under a pointer: of the row, within a few pixels, the nearest first.
  under(event) {
    const box = $("lanes").getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const lane = this.marks.rows[Math.floor((y - AXIS) / ROW)];
    if (!lane || y < AXIS) return { x, numbers: [], total: 0 };
    const scale = this.scale(box.width);
    const [low, high] = [scale.place(x - 6), scale.place(x + 6)];
    const numbers = this.marks.between(lane, low, high, 400);
    numbers.sort((one, other) => Math.abs(scale.x(this.marks.places[one]) - x) - Math.abs(scale.x(this.marks.places[other]) - x));
    return { x, numbers, total: this.marks.counted(lane, low, high).total };
  }

  tip(event) {
    const { x, numbers, total } = this.under(event);
    $("timeline").style.cursor = total ? "pointer" : "col-resize";
    if (!total) { $("tip").hidden = true; this.tipped = ""; return; }
    const told = numbers.slice(0, TOLD);
    $("tip").style.left = `${Math.min(x + 14, $("timeline").clientWidth - 340)}px`;
    $("tip").style.top = `${event.clientY - $("timeline").getBoundingClientRect().top + 16}px`;
    if (this.tipped === told.join()) return;
    this.tipped = told.join();
    this.tipTotal = total;
    this.askTip(this.marks.cluster, told);
  }

  showTip(events) {
    if (!this.tipped) return;
    $("tip").hidden = false;
    const more = this.tipTotal - events.length;
    $("tip").replaceChildren(...events.map((one) => make("p", {}, make("i", { class: `glyph ${one.bad ? "failure" : one.what}` }),
      make("span", {}, `${short(one.about)} ${one.text}`))), more > 0 ? make("p", { class: "more" }, `and ${more.toLocaleString("en")} more`) : "");
  }

  pointers() {
    const timeline = $("timeline");
    let scrubbing = false;
    const place = (event) => this.scale(timeline.clientWidth).place(event.clientX - timeline.getBoundingClientRect().left);
    timeline.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      timeline.focus({ preventScroll: true });
      timeline.setPointerCapture(event.pointerId);
      const [nearest] = this.under(event).numbers;
      if (nearest !== undefined) { this.setFollow(false); this.choose(nearest); return; }
      scrubbing = true;
      this.scrub(place(event));
    });
    timeline.addEventListener("pointermove", (event) => { if (scrubbing) this.scrub(place(event)); else if (this.marks) this.tip(event); });
    timeline.addEventListener("pointerup", () => { scrubbing = false; });
    timeline.addEventListener("pointerleave", () => { this.tipped = ""; $("tip").hidden = true; });
    timeline.addEventListener("dblclick", (event) => this.zoom(0.25, place(event)));
    timeline.addEventListener("wheel", (event) => {
      const scrolls = $("board").scrollHeight > $("board").clientHeight + 1;
      const width = this.view.high - this.view.low;
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        this.show(this.view.low + ((event.deltaX || event.deltaY) / timeline.clientWidth) * width, width);
      } else if (event.ctrlKey || !scrolls) {
        event.preventDefault();
        this.zoom(Math.exp(Math.min(Math.max(event.deltaY, -240), 240) / 400), place(event));
      }
    }, { passive: false });

    const overview = $("overview");
    let panning = false;
    const pan = (event) => {
      const [low, high] = this.marks.range;
      const box = overview.getBoundingClientRect();
      const width = this.view.high - this.view.low;
      this.show(low + ((event.clientX - box.left) / box.width) * (high - low) - width / 2, width);
    };
    overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); panning = true; pan(event); });
    overview.addEventListener("pointermove", (event) => { if (panning) pan(event); });
    overview.addEventListener("pointerup", () => { panning = false; });
  }

  listKeys(event) {
    const numbers = [...$("list").children].map((item) => Number(item.dataset.number));
    const place = numbers.indexOf(this.cursor.number);
    const to = { ArrowDown: place + 1, ArrowUp: place - 1 }[event.key];
    if (event.key === "Enter") this.focus("details");
    else if (to === undefined) return;
    else if (place < 0) this.step(-1);
    else if (numbers[to] !== undefined) { this.setFollow(false); this.choose(numbers[to]); }
    event.preventDefault();
    event.stopPropagation();
  }

  legend() {
    $("legend").replaceChildren(...KINDS.map((kind, index) => make("button", {
      type: "button", "aria-pressed": "true", title: `Show or hide: ${kind}`,
      onclick: (event) => {
        this.marks.shown[index] = !this.marks.shown[index];
        event.currentTarget.setAttribute("aria-pressed", String(this.marks.shown[index]));
        this.draw();
        this.list();
      },
    }, make("i", { class: `glyph ${kind}`, "aria-hidden": "true" }), kind)));
    $("key-rows").replaceChildren(...[...KEYS, ...EVERYWHERE].map(([, key, what]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, what))));
  }

  wire() {
    this.legend();
    this.pointers();
    const click = (id, work) => $(id).addEventListener("click", work);
    click("first", () => this.end(-1));
    click("previous", () => this.step(-1));
    click("next", () => this.step(1));
    click("last", () => this.end(1));
    click("in", () => this.zoom(0.5));
    click("out", () => this.zoom(2));
    click("fit", () => this.fit());
    click("by-time", () => this.turnAxis("time"));
    click("by-order", () => this.turnAxis("order"));
    click("follow", () => this.turnFollow());
    click("help", () => this.help());
    click("theme", () => this.turnTheme());
    click("list", (event) => {
      const item = event.target.closest("[role=option]");
      if (item) { this.setFollow(false); this.choose(Number(item.dataset.number)); }
    });
    $("list").addEventListener("keydown", (event) => this.listKeys(event));
    $("timeline").addEventListener("keydown", (event) => pressed(KEYS, event, this));
    document.addEventListener("keydown", (event) => { if (!event.target.closest("select, dialog") && this.marks) pressed(EVERYWHERE, event, this); });
    $("cluster").addEventListener("change", (event) => this.open(event.target.value).catch((error) => this.trouble(error)));
    new ResizeObserver(() => this.draw()).observe($("timeline"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
    this.recolour();
  }

  turnTheme() {
    const dark = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset.theme = dark === "dark" ? "light" : "dark";
    localStorage.setItem("theme", document.documentElement.dataset.theme);
    this.recolour();
  }

  recolour() { this.colour = colours(); this.draw(); }

  async begin() {
    this.wire();
    try {
      const { clusters, source, live, target } = await api.clusters();
      this.live = live;
      $("follow").hidden = !live;
      $("source").textContent = `${live ? "live" : "archive"} · ${source}${target === "local" ? "" : ` · ${target}`}`;
      $("cluster").replaceChildren(...clusters.map((name) => make("option", { value: name }, name)));
      if (!clusters.length) throw new Error("Nothing is recorded of any TapioCluster yet. Apply one, and load this page again.");
      const named = new URLSearchParams(location.hash.slice(1));
      const cluster = clusters.includes(named.get("cluster")) ? named.get("cluster") : clusters[0];
      $("cluster").value = cluster;
      await this.open(cluster, named.get("at"));
      document.body.dataset.ready = "true";
    } catch (error) {
      this.trouble(error);
    }
  }
}

new Page().begin();
