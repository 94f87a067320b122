// Every key of the page, once: what it does, and what the help says of it.

export const KEYS = [
  [["ArrowRight"], "→", "next mark of the chosen lane, or of all", (page) => page.step(1)],
  [["ArrowLeft"], "←", "mark before", (page) => page.step(-1)],
  [["PageDown"], "Page down", "ten marks on", (page) => page.step(10)],
  [["PageUp"], "Page up", "ten marks back", (page) => page.step(-10)],
  [["Home"], "Home", "first mark", (page) => page.end(-1)],
  [["End"], "End", "last mark", (page) => page.end(1)],
  [["ArrowDown"], "↓", "next lane; the first step leaves “all lanes”", (page) => page.lane(1)],
  [["ArrowUp"], "↑", "lane before; above the first one are all lanes", (page) => page.lane(-1)],
  [["Enter", " "], "Enter", "read the cause of the mark", (page) => page.read()],
];

export const EVERYWHERE = [
  [["+", "="], "+", "zoom in around the instant", (page) => page.zoom(0.5)],
  [["-"], "−", "zoom out", (page) => page.zoom(2)],
  [["0"], "0", "show all of it", (page) => page.fit()],
  [["t"], "T", "distance is time, or every mark has the same room", (page) => page.turnAxis()],
  [["l"], "L", "follow a live log, or stop following", (page) => page.turnFollow()],
  [["c"], "C", "choose a TapioCluster", (page) => page.focus("cluster")],
  [["1"], "1", "to the time line", (page) => page.focus("timeline")],
  [["2"], "2", "to the objects as of the instant", (page) => page.focus("tree")],
  [["3"], "3", "to the list of what happened", (page) => page.focus("list")],
  [["4"], "4", "to the cause", (page) => page.focus("details")],
  [["?"], "?", "these keys", (page) => page.help()],
];

export function pressed(table, event, page) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const found = table.find(([keys]) => keys.includes(event.key.length === 1 ? event.key.toLowerCase() : event.key));
  if (!found) return;
  event.preventDefault();
  event.stopPropagation();
  found[3](page);
}
