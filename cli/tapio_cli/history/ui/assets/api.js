// What the page asks of its server. Every path is relative: the token is in the address of the page.

async function ask(path, query = {}) {
  const answer = await fetch(`api/${path}?${new URLSearchParams(query)}`);
  const document = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(document.error ?? `The server answered ${answer.status}.`);
  return document;
}

export const clusters = () => ask("clusters");
export const marks = (cluster) => ask("marks", { cluster });
export const events = (cluster, numbers) => ask("events", { cluster, numbers: numbers.join(",") });
export const mark = (cluster, number) => ask("mark", { cluster, number });
export const at = (cluster, instant) => ask("at", { cluster, instant });
export const object = (cluster, instant, object) => ask("object", { cluster, instant, object });

// New marks as they are recorded. Answers a function that ends it.
export function follow(cluster, after, { told, trouble, again }) {
  let stream;
  let sent = after;
  const open = () => {
    stream = new EventSource(`api/follow?${new URLSearchParams({ cluster, after: sent })}`);
    stream.addEventListener("marks", (event) => {
      const news = JSON.parse(event.data);
      sent = news.first + news.at.length;
      told(news);
    });
    stream.addEventListener("trouble", (event) => trouble(JSON.parse(event.data).error));
    stream.addEventListener("again", () => { stream.close(); again(); });
    stream.onerror = () => {
      // A browser would ask again for what it asked for first; ask for what is missing.
      stream.close();
      trouble("The page's server does not answer; is tapioctl ui still running? Trying again.");
      retry = setTimeout(open, 2000);
    };
  };
  let retry;
  open();
  return () => { clearTimeout(retry); stream.close(); };
}

// Only the newest of several questions counts; one is under way at a time, so that scrubbing never piles them up.
export function newest(question, use, failed) {
  let running = false;
  let waiting = null;
  const run = async (...given) => {
    if (running) { waiting = given; return; }
    running = true;
    try {
      const answer = await question(...given);
      if (!waiting) use(answer, ...given);
    } catch (error) {
      if (!waiting) failed(error);
    } finally {
      running = false;
      const next = waiting;
      waiting = null;
      if (next) run(...next);
    }
  };
  return run;
}
