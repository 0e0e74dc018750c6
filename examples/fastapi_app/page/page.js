// A conversation as it arrives, over an EventSource: the browser itself comes back after a lost
// connection and says in Last-Event-ID where it was, so no message is lost and none comes twice.
// Texts are set as texts and never as HTML: what stands in a message can do nothing here.

const API = "/api/completions";
const PAGE_SIZE = 4; // messages a request of the app to the API: small, so that one sees them arrive

const byId = (id) => document.getElementById(id);
const messages = byId("messages");
let open = { id: null, source: null, count: 0, last: null };

// --- small things ---------------------------------------------------------------------------------

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

// --- a message ------------------------------------------------------------------------------------

function show(message, kind = message.role) {
  const follow = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 80;
  const article = element("article", kind);
  const said = element("div", "said");
  said.append(...contents(message));
  article.append(element("p", "", message.name ? `${message.role} · ${message.name}` : message.role), said);
  messages.append(article);
  if (follow) messages.scrollTop = messages.scrollHeight;
}

function contents(message) {
  const shown = message.content_parts?.length
    ? message.content_parts.map(part)
    : message.content ? [element("p", "text", message.content)] : [];
  if (message.refusal) shown.push(element("p", "text", message.refusal));
  for (const call of message.tool_calls ?? []) {
    const { name, arguments: given, input } = call.function ?? call.custom ?? {};
    shown.push(element("pre", "", `${name ?? call.type}(${given ?? input ?? ""})`));
  }
  return shown.length ? shown : [element("p", "note", "no content")];
}

function part({ type, [type]: content }) {
  if (type === "text") return element("p", "text", content);
  if (type === "image_url" && content.url.startsWith("data:image/")) {
    const image = element("img");
    image.src = content.url;
    image.alt = "A picture of this conversation";
    return image;
  }
  if (type === "image_url") return element("p", "note", `Picture: ${content.url}`); // not fetched from there
  if (type === "input_audio") {
    const sound = element("audio");
    sound.controls = true;
    sound.src = `data:audio/${content.format};base64,${content.data}`;
    return sound;
  }
  if (type === "file") return element("p", "note", `File: ${content.filename ?? content.file_id}`);
  return element("p", "note", `A part of type ${type}`);
}

// --- a stream -------------------------------------------------------------------------------------

function start(id) {
  open.source?.close();
  messages.replaceChildren();
  open = { id, source: null, count: 0, last: null };
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
  const query = new URLSearchParams({ format: "sse", limit: PAGE_SIZE });
  if (here.last) query.set("after", here.last);
  const source = new EventSource(`${API}/${encodeURIComponent(here.id)}/messages/stream?${query}`);
  here.source = source;
  say("arriving", here.count ? `arriving · ${counted(here.count)}` : "asking…", "Stop");

  source.onmessage = (event) => {
    here.last = event.lastEventId;
    here.count += 1;
    here.reason = null;
    show(JSON.parse(event.data));
    say("arriving", `arriving · ${counted(here.count)}`, "Stop");
  };
  source.addEventListener("end", () => {
    source.close();
    say("complete", `complete · ${counted(here.count)}`);
    showReply(here);
  });
  // Either the app's own event, with the reason in it, or the browser's, which knows none.
  source.onerror = (event) => {
    if (event.data) here.reason = JSON.parse(event.data).detail;
    else if (source.readyState === EventSource.CLOSED) explain(here);
    else say("interrupted", `${here.reason ?? "The connection was lost."} Coming back…`, "Stop");
  };
}

async function explain(here) {
  // An EventSource does not tell the status that it was refused with, so ask once more.
  const why = await ask(`${API}/${encodeURIComponent(here.id)}/messages?limit=1`).then(
    () => "The stream was refused.",
    (problem) => problem.message,
  );
  if (here === open) say("failed", why, "Try again");
}

async function showReply(here) {
  const reply = await ask(`${API}/${encodeURIComponent(here.id)}/reply`).catch(() => null);
  if (!reply || here !== open) return;
  messages.append(element("p", "divider", "the model's reply, stored with the completion"));
  show({ role: "assistant", ...reply }, "reply");
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

const openFromAddress = () => start(decodeURIComponent(location.hash.slice(1)) || null);
window.addEventListener("hashchange", openFromAddress);

ask(API)
  .then((found) => found.length ? found.map(entry) : [element("li", "note", "There are none yet.")])
  .catch((problem) => [element("li", "note", problem.message)])
  .then((items) => byId("conversations").replaceChildren(...items))
  .then(openFromAddress);
