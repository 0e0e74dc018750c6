// Show a conversation while it arrives, over an EventSource. After a lost connection the browser
// reconnects by itself, and sends the last id in Last-Event-ID, so no message is lost or repeated.
// A message comes as HTML in which nothing runs. Everything else is set as text and never as HTML.

const API = "/api/completions"; // JSON
const HTML = "/html/completions";
const PAGE_SIZE = 4; // messages per request of the app to the API: small, so that they arrive visibly

const byId = (id) => document.getElementById(id);
const messages = byId("messages");
const opened = (id) => ({ id, source: null, count: 0, last: null, shown: new Set() });
let open = opened(null);

// --- helpers --------------------------------------------------------------------------------------

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(state, text, action) {
  byId("status").dataset.state = state;
  byId("said").textContent = text;
  byId("action").hidden = !action;
  if (action) byId("action").textContent = action;
}

const counted = (number) => `${number} message${number === 1 ? "" : "s"}`;

async function ask(url) {
  const answer = await fetch(url);
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Error(typeof problem.detail === "string" ? problem.detail : `status ${answer.status}`);
}

function show(html) {
  const follow = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 80;
  messages.insertAdjacentHTML("beforeend", html);
  if (follow) messages.scrollTop = messages.scrollHeight;
}

// --- a stream -------------------------------------------------------------------------------------

function start(id) {
  open.source?.close();
  messages.replaceChildren();
  open = opened(id);
  document.body.toggleAttribute("data-open", Boolean(id));
  for (const link of document.querySelectorAll("#conversations a")) {
    const current = link.hash === location.hash;
    link.toggleAttribute("aria-current", current);
    if (current) link.scrollIntoView({ block: "nearest" });
  }
  byId("title").textContent = id ?? "No conversation is open";
  if (id) listen();
  else say("idle", "Choose one.");
}

function listen() {
  const here = open;
  const query = new URLSearchParams({ limit: PAGE_SIZE });
  if (here.last) query.set("after", here.last);
  const source = new EventSource(`${HTML}/${encodeURIComponent(here.id)}/messages?${query}`);
  here.source = source;
  say("arriving", here.count ? `arriving · ${counted(here.count)}` : "asking…", "Stop");

  source.onmessage = (event) => {
    const message = JSON.parse(event.data);
    here.last = event.lastEventId;
    here.reason = null;
    if (here.shown.has(message.id)) return; // sent again: the message before it had no id to resume from
    here.shown.add(message.id);
    here.count += 1;
    show(message.html);
    say("arriving", `arriving · ${counted(here.count)}`, "Stop");
  };
  source.addEventListener("end", () => {
    source.close();
    say("complete", `complete · ${counted(here.count)}`);
    showReplies(here);
  });
  // The app's own event has the reason; the browser's event has none.
  source.onerror = (event) => {
    if (event.data) here.reason = JSON.parse(event.data).detail;
    else if (source.readyState === EventSource.CLOSED) explain(here);
    else say("interrupted", `${here.reason ?? "The connection was lost."} Coming back…`, "Stop");
  };
}

async function explain(here) {
  // An EventSource does not show the status of a refusal, so request once more.
  const why = await ask(`${API}/${encodeURIComponent(here.id)}/messages?limit=1`).then(
    () => "The stream was refused.",
    (problem) => problem.message,
  );
  if (here === open) say("failed", why, "Try again");
}

async function showReplies(here) {
  let said = "the model's reply, stored with the completion";
  const replies = await ask(`${HTML}/${encodeURIComponent(here.id)}/replies`).catch((problem) => {
    said = `The model's reply could not be read: ${problem.message}`;
    return [];
  });
  if (here !== open) return;
  messages.append(element("p", "divider", said));
  replies.forEach(show);
}

byId("action").onclick = () => {
  if (open.source.readyState === EventSource.CLOSED) return listen();
  open.source.close();
  say("idle", `stopped · ${counted(open.count)}`, "Go on");
};

// --- the list -------------------------------------------------------------------------------------

function entry({ id, model, created, reply }) {
  const link = element("a");
  link.href = `#${encodeURIComponent(id)}`;
  link.title = [reply, model].filter(Boolean).join("\n\n");
  const day = created && new Date(created * 1000).toLocaleDateString(undefined, { dateStyle: "medium" });
  link.append(
    element("strong", "", reply?.split("\n")[0] || id),
    element("span", "", [id, day].filter(Boolean).join(" · ")),
  );
  const item = element("li");
  item.append(link);
  return item;
}

byId("search").onsubmit = (event) => {
  event.preventDefault();
  const id = byId("completion").value.trim();
  if (id) location.hash = encodeURIComponent(id);
};

function idInAddress() {
  const given = location.hash.slice(1);
  try {
    return decodeURIComponent(given);
  } catch {
    return given; // a % that was typed by hand
  }
}

const openFromAddress = () => start(idInAddress() || null);
window.addEventListener("hashchange", openFromAddress);

ask(API)
  .then((found) => found.length ? found.map(entry) : [element("li", "note", "There are none yet.")])
  .catch((problem) => [element("li", "note", problem.message)])
  .then((items) => byId("conversations").replaceChildren(...items))
  .then(openFromAddress);
