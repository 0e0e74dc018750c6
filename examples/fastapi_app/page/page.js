// Show a conversation while it arrives, over an EventSource. After a lost connection the browser
// reconnects by itself, and sends the last id in Last-Event-ID, so no message is lost or repeated.
// Texts are set as text and never as HTML, so the content of a message cannot act on the page.
// A message may have any shape: unexpected values are shown as JSON, and stop nothing.

const API = "/api/completions";
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

const isText = (value) => typeof value === "string";
const isPresent = (value) => value !== undefined && value !== null && value !== "";
const asText = (value) => (isText(value) ? value : JSON.stringify(value) ?? "");
const asObject = (value) => (value !== null && typeof value === "object" ? value : {});
const asList = (value) => (Array.isArray(value) ? value : isPresent(value) ? [value] : []);

const counted = (number) => `${number} message${number === 1 ? "" : "s"}`;

async function ask(url) {
  const answer = await fetch(url);
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Error(typeof problem.detail === "string" ? problem.detail : `status ${answer.status}`);
}

// --- a message ------------------------------------------------------------------------------------

function show(message, kind = asText(message.role)) {
  const follow = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 80;
  const article = element("article", kind);
  const said = element("div", "said");
  const shown = contents(message);
  said.append(...(shown.length ? shown : [element("p", "note", "no content")]));
  const speaker = [message.role, message.name].filter(isPresent).map(asText).join(" · ");
  article.append(element("p", "", speaker || "no role"), said);
  messages.append(article);
  if (follow) messages.scrollTop = messages.scrollHeight;
}

function contents({ content, content_parts, refusal, tool_calls, function_call }) {
  const parts = asList(content_parts).length ? content_parts : content;
  const calls = [...asList(tool_calls), ...asList(function_call).map((call) => ({ function: call }))];
  return [
    ...asList(parts).map(part),
    ...(refusal ? [element("p", "text", asText(refusal))] : []),
    ...calls.map((call) => element("pre", "", callAsText(call))),
  ];
}

function callAsText(call) {
  const { type, function: named, custom } = asObject(call);
  const { name, arguments: given, input } = asObject(named ?? custom);
  const called = [name, type].find(isPresent);
  if (called === undefined) return asText(call);
  return `${asText(called)}(${[given, input].filter(isPresent).map(asText).join()})`;
}

function part(given) {
  if (isText(given)) return element("p", "text", given);
  const { type } = asObject(given);
  const shown = isText(type) && Object.hasOwn(PARTS, type) ? PARTS[type](given[type]) : null;
  return shown ?? element("p", "note", isText(type) ? `A part of type ${type}` : asText(given));
}

// By type of a part: a function that returns an element for its content, or null for odd content.
const PARTS = {
  text: (text) => (isText(text) ? element("p", "text", text) : null),
  image_url: (image) => {
    const url = isText(image) ? image : asObject(image).url;
    if (!isText(url)) return null;
    if (!url.startsWith("data:image/")) return element("p", "note", `Picture: ${url}`); // not loaded from another host
    const picture = element("img");
    picture.src = url;
    picture.alt = "A picture of this conversation";
    return picture;
  },
  input_audio: (audio) => {
    const { format, data } = asObject(audio);
    if (!isText(format) || !isText(data)) return null;
    const sound = element("audio");
    sound.controls = true;
    sound.src = `data:audio/${format};base64,${data}`;
    return sound;
  },
  file: (file) => {
    const name = [asObject(file).filename, asObject(file).file_id].find(isText);
    return name === undefined ? null : element("p", "note", `File: ${name}`);
  },
};

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
  const query = new URLSearchParams({ format: "sse", limit: PAGE_SIZE });
  if (here.last) query.set("after", here.last);
  const source = new EventSource(`${API}/${encodeURIComponent(here.id)}/messages/stream?${query}`);
  here.source = source;
  say("arriving", here.count ? `arriving · ${counted(here.count)}` : "asking…", "Stop");

  source.onmessage = (event) => {
    const message = JSON.parse(event.data);
    here.last = event.lastEventId;
    here.reason = null;
    if (here.shown.has(message.id)) return; // sent again: the message before it had no id to resume from
    here.shown.add(message.id);
    here.count += 1;
    show(message);
    say("arriving", `arriving · ${counted(here.count)}`, "Stop");
  };
  source.addEventListener("end", () => {
    source.close();
    say("complete", `complete · ${counted(here.count)}`);
    showReply(here);
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
