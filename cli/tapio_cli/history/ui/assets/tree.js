// The objects as of the instant, as a tree that is used as trees are (WAI-ARIA authoring practices, tree view).

import { make } from "./format.js";

const STANDINGS = {
  missing: "wanted, not there yet",
  behind: "there, not as wanted yet",
  present: "there, as wanted",
  observed: "seen, not the operator's to write",
  gone: "gone",
};

export class Tree {
  constructor(root, open) {
    this.root = root;
    this.open = open;
    this.collapsed = new Set();
    this.before = new Map();
    this.focused = "";
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("click", (event) => {
      const item = event.target.closest("[role=treeitem]");
      if (!item) return;
      this.focus(item, false);
      if (item.dataset.ref) this.open(item.dataset.ref); else this.toggle(item);
    });
  }

  show(branches) {
    const after = new Map();
    const hadFocus = this.root.contains(document.activeElement);
    const items = branches.map((branch) => {
      const leaves = branch.objects.map((one) => {
        const said = `${one.standing} ${one.detail}`;
        after.set(one.ref, said);
        const changed = this.before.size > 0 && this.before.get(one.ref) !== said;
        return make("li", {
          role: "treeitem", tabindex: "-1", "data-ref": one.ref, "data-id": one.ref, "data-standing": one.standing,
          class: changed ? "leaf changed" : "leaf", title: `${one.ref}: ${STANDINGS[one.standing]}`,
          "aria-label": `${one.kind} ${one.name}, ${STANDINGS[one.standing]}${one.detail ? `, ${one.detail}` : ""}`,
        }, make("i", { class: `standing ${one.standing}`, "aria-hidden": "true" }), make("span", { class: "kind" }, one.kind),
          make("span", { class: "name" }, one.name), make("span", { class: "detail" }, one.detail));
      });
      const ready = branch.isComponent ? `${branch.ready}/${branch.desired}` : "";
      const open = !this.collapsed.has(branch.name);
      return make("li", {
        role: "treeitem", tabindex: "-1", "data-branch": branch.name, "data-id": `branch ${branch.name}`, "aria-expanded": String(open),
        "aria-label": [branch.name, branch.state, ready && `${ready} ready`, branch.why].filter(Boolean).join(", "),
      }, make("div", { class: "branch" }, make("i", { class: "turn", "aria-hidden": "true" }),
        make("span", { class: "component" }, branch.name),
        branch.state ? make("span", { class: "state", "data-state": branch.state }, branch.state) : null,
        make("span", { class: "detail" }, ready)),
      branch.why && branch.state !== "Ready" ? make("p", { class: "why" }, branch.why) : null,
      make("ul", { role: "group", hidden: !open }, ...leaves));
    });
    this.root.replaceChildren(...items);
    this.before = after;
    const wanted = this.visible().find((item) => item.dataset.id === this.focused) ?? this.visible()[0];
    if (wanted) this.focus(wanted, hadFocus);
  }

  visible() {
    return [...this.root.querySelectorAll("[role=treeitem]")].filter((item) => !item.closest("ul[hidden]"));
  }

  focus(item, move = true) {
    for (const one of this.root.querySelectorAll("[tabindex='0']")) one.tabIndex = -1;
    item.tabIndex = 0;
    this.focused = item.dataset.id;
    if (move) item.focus();
  }

  toggle(item, open = item.getAttribute("aria-expanded") !== "true") {
    item.setAttribute("aria-expanded", String(open));
    item.querySelector("ul").hidden = !open;
    if (open) this.collapsed.delete(item.dataset.branch); else this.collapsed.add(item.dataset.branch);
  }

  key(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    const items = this.visible();
    const place = items.indexOf(item);
    const branch = item.dataset.branch !== undefined;
    const go = (one) => { if (one) this.focus(one); };
    switch (event.key) {
      case "ArrowDown": go(items[place + 1]); break;
      case "ArrowUp": go(items[place - 1]); break;
      case "Home": go(items[0]); break;
      case "End": go(items[items.length - 1]); break;
      case "ArrowRight":
        if (branch && item.getAttribute("aria-expanded") !== "true") this.toggle(item, true);
        else if (branch) go(items[place + 1]);
        break;
      case "ArrowLeft":
        if (branch) this.toggle(item, false); else go(item.parentElement.closest("[role=treeitem]"));
        break;
      case "Enter": case " ":
        if (branch) this.toggle(item); else this.open(item.dataset.ref);
        break;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
