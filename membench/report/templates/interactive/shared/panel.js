// ==== panel
// What opens over the page: one entry, or one study; where it is from, and how to cite it.

function showPanel(title, parts) {
  const dialog = byId("panel");
  dialog.replaceChildren(
    element(
      "div",
      { class: "head" },
      element("h2", { id: "panel-title" }, title),
      element("button", { type: "button", onclick: () => dialog.close() }, "Close"),
    ),
    ...parts,
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function hidePanel() {
  if (byId("panel").open) byId("panel").close();
}

// The list was drawn anew while the panel was open: go back to where the reader was in it.
function panelClosed() {
  const name = state[PANEL];
  if (!name) return;
  change({ [PANEL]: "" });
  focusOn(`open ${name}`);
}

// Only addresses of the web become links, and they tell nobody where the reader was.
function linked([words, address]) {
  if (!/^https?:\/\//.test(address)) return words;
  return element("a", { href: address, rel: "noopener noreferrer" }, words);
}

function citation(bibtex) {
  if (!bibtex) return element("div", {});
  const text = element("textarea", {
    id: "bibtex",
    readonly: true,
    rows: bibtex.split("\n").length + 1,
    spellcheck: "false",
  });
  text.value = bibtex;
  const said = element("span", { role: "status" });
  return element(
    "section",
    {},
    element("h3", {}, element("label", { for: "bibtex" }, "BibTeX of the source")),
    text,
    element(
      "p",
      { class: "buttons" },
      element("button", { type: "button", onclick: () => copy(text.value, said, text) }, "Copy"),
      said,
    ),
  );
}

// Without the right to the clipboard the text is selected, so that two keys copy it.
async function copy(words, said, field) {
  if (field) field.select();
  try {
    await navigator.clipboard.writeText(words);
    said.textContent = "copied";
  } catch {
    if (!field) said.textContent = "not allowed here: copy the address of the page";
    else said.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C";
  }
}
