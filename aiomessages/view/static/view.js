// Keys and copying. Everything else works without this file, and nothing here loads anything.
//
// [data-item]           what j and k go through: a link, or an element with tabindex="-1"
// [data-key="n ]"]      a link that these keys follow, or a field that they lead to
// button[data-copy=ID]  copies the text of the element with this id; hidden until this file runs

const said = document.getElementById("said");
const keys = document.getElementById("keys");
const keysButton = document.getElementById("keys-button");

function visibleFromTop(items) {
  return items.findIndex((item) => item.getBoundingClientRect().bottom > 0);
}

function go(step) {
  const items = [...document.querySelectorAll("[data-item]")];
  const current = items.indexOf(document.activeElement?.closest("[data-item]") ?? null);
  const marked = items.findIndex((item) => item.matches(":target, [data-marked]"));
  let next = current + step;
  if (current < 0) {
    next = marked >= 0 ? marked : Math.max(0, visibleFromTop(items));
  }
  const item = items[Math.min(Math.max(next, 0), items.length - 1)];
  item?.focus();
  item?.scrollIntoView({ block: "nearest" });
}

function follow(key) {
  const found = [...document.querySelectorAll("[data-key]")].find((element) =>
    element.dataset.key.split(" ").includes(key),
  );
  if (found?.matches("input")) {
    found.focus();
    found.select();
  } else {
    found?.click();
  }
  return found !== undefined;
}

function isTyping(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (keys.open || isTyping(event.target)) {
    if (event.key === "Escape" && !keys.open) document.activeElement.blur();
    return;
  }
  if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.key === "?") keys.showModal();
  else if (!follow(event.key)) return;
  event.preventDefault();
});

keysButton.hidden = false;
keysButton.addEventListener("click", () => keys.showModal());

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "Copied.";
      button.dataset.state = "copied";
    } catch {
      said.textContent = "The browser did not allow to copy. Select the text instead.";
      button.dataset.state = "refused";
    }
    setTimeout(() => {
      said.textContent = "";
      delete button.dataset.state;
    }, 2000);
  });
}

// Where there is room the filters are open: some browsers cannot do that by a style alone.
if (matchMedia("(min-width: 52.01rem)").matches) document.querySelector(".filters")?.setAttribute("open", "");

// The search field, when another page has led to it.
if (location.hash === "#q") document.getElementById("q")?.focus();
