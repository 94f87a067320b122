// Why a mark or an object is so: what caused it, what it wrote, what differs since, and under which trace.

import { make } from "./format.js";

function section(title, ...children) {
  const held = children.filter(Boolean);
  return held.length ? make("section", {}, make("h3", {}, title), ...held) : null;
}

function reasons(lines) {
  return lines.length ? make("ol", { class: "because" }, ...lines.map((line) => make("li", {}, line))) : null;
}

export function difference(lines) {
  const kinds = { "+": "added", "-": "removed", "@": "place" };
  return make("pre", { class: "diff", tabindex: "0", "aria-label": "What differs, as a unified diff" }, ...lines.map((line) => {
    const kind = line.startsWith("+++") || line.startsWith("---") ? "file" : kinds[line[0]] ?? "same";
    return make("span", { class: kind }, `${line}\n`);
  }));
}

function copied(text, what) {
  return make("button", {
    type: "button", class: "copy", "aria-label": `Copy ${what}`,
    onclick: async (event) => {
      await navigator.clipboard.writeText(text);
      event.target.textContent = "copied";
    },
  }, "copy");
}

export function showMark(root, one) {
  const kind = one.bad ? "failure" : one.what;
  root.replaceChildren(...[
    make("header", { class: "about" },
      make("p", { class: "title" }, make("i", { class: `glyph ${kind}`, "aria-hidden": "true" }), make("b", {}, one.what),
        one.revision ? make("span", { class: "revision" }, `@${one.revision}`) : null, make("time", { datetime: one.when }, one.when)),
      one.about ? make("p", { class: "object" }, one.about) : null,
      make("p", { class: "text" }, one.text),
      make("dl", {}, ...[
        one.user ? [make("dt", {}, "asked by"), make("dd", {}, one.user)] : [],
        [make("dt", {}, "trace"), make("dd", { id: "trace" }, one.trace ? make("code", {}, one.trace) : "recorded without one",
          one.trace ? copied(one.trace, "the trace id") : "")],
      ].flat())),
    section("Cause", reasons(one.because)),
    section(one.what === "outcome" ? "How the writes went" : "What it writes", one.writes.length ? make("ul", { class: "writes" },
      ...one.writes.map((write) => make("li", { class: write.bad ? "bad" : "" }, make("span", { class: `action ${write.action}` }, write.action),
        make("div", {}, make("b", {}, write.object), make("span", {}, write.text))))) : null),
    section("Fields that changed", one.fields.length ? make("ul", { class: "fields" }, ...one.fields.map((field) => make("li", {}, field))) : null),
    section("What differs since the record before", one.diff.length ? difference(one.diff)
      : make("p", { class: "note" }, one.revision ? "Nothing." : "An admission is no part of the log, and changes nothing by itself.")),
    section("The same in a terminal", one.commands.length ? make("ul", { class: "commands" },
      ...one.commands.map((command) => make("li", {}, make("code", {}, command), copied(command, "the command")))) : null),
  ].filter(Boolean));
  root.scrollTop = 0;
}

export function showObject(root, one) {
  root.replaceChildren(...[
    make("header", { class: "about" },
      make("p", { class: "title" }, make("b", {}, "object"), make("span", { class: "revision" }, `as of @${one.revision}`)),
      make("p", { class: "object" }, one.object),
      make("dl", {}, make("dt", {}, "wanted"), make("dd", {}, one.wanted ? make("code", {}, one.wanted) : "not by the last decision"))),
    section("Cause", reasons(one.because)),
    section("As it was told", one.document ? make("pre", { class: "document", tabindex: "0", "aria-label": "The object as YAML" }, one.document)
      : make("p", { class: "note" }, "It was not there.")),
  ].filter(Boolean));
  root.scrollTop = 0;
}

export function showNothing(root) {
  root.replaceChildren(make("p", { class: "note" },
    "Choose a mark, or an object: here stands what caused it, what it changed, and the id of its trace."));
}
