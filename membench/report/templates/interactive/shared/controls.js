// ==== controls
// The controls above a list, and drawing the page anew whenever the view changes: each page has a
// function `show`, which draws all of it.

function showSelect(id, options) {
  const select = byId(id);
  select.replaceChildren(...options.map(([value, label]) => option(value, label)));
  select.value = state[id];
  const isKnown = select.selectedIndex >= 0;
  if (!isKnown) select.value = DEFAULTS[id];
  if (!isKnown) state[id] = DEFAULTS[id];
}

function showLists() {
  byId("lists").replaceChildren(
    ...Object.entries(LISTS).map(([name, list]) =>
      element(
        "button",
        {
          type: "button",
          "data-key": `list ${name}`,
          "aria-pressed": String(state.list === name),
          onclick: () => change({ list: name, sort: "" }),
        },
        list.title,
      ),
    ),
  );
}

// Draw with the focus where it was: what has it is drawn anew, and found again by its key.
function keepFocus(draw) {
  const held = document.activeElement && document.activeElement.getAttribute("data-key");
  draw();
  if (!held || document.activeElement.getAttribute("data-key") === held) return;
  focusOn(held);
}

function focusOn(key) {
  const all = [...document.querySelectorAll("[data-key]")];
  const found = all.find((one) => one.getAttribute("data-key") === key);
  if (found) found.focus();
}

function readAddress() {
  state = stateOf(location.hash);
  show();
}

// Listen to all that both pages have; `all` is the view without filters.
function listen(selects, checks, all) {
  for (const id of selects)
    byId(id).addEventListener("change", () => change({ [id]: byId(id).value }));
  for (const id of checks)
    byId(id).addEventListener("change", () => change({ [id]: byId(id).checked ? "1" : "" }));
  byId("q").addEventListener("input", () => change({ q: byId("q").value }));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => change(all));
  byId("link").addEventListener("click", () => copy(location.href, byId("status")));
  byId("panel").addEventListener("close", panelClosed);
  window.addEventListener("hashchange", readAddress);
}
