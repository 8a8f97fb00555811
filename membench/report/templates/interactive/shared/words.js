// Numbers as the page as text spells them, and elements made of text: never of markup.

const MISSING = "—";

function fixed(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "−");
}

function signed(value, digits) {
  const text = fixed(value, digits);
  return Number(value.toFixed(digits)) > 0 ? `+${text}` : text;
}

function spell(value, reading) {
  const show = reading.isChange ? signed : fixed;
  return show(value, reading.digits) + (reading.unit || "");
}

function withHalf(pair, reading) {
  if (!pair || pair[0] === null) return MISSING;
  const mean = spell(pair[0], reading);
  return pair[1] === null ? mean : `${mean} ± ${fixed(pair[1], reading.digits)}`;
}

function ranks(rank) {
  if (!rank) return MISSING;
  return rank[0] === rank[1] ? String(rank[0]) : `${rank[0]}–${rank[1]}`;
}

function count(number, noun, plural = `${noun}s`) {
  return `${number} ${number === 1 ? noun : plural}`;
}

// Attributes that begin with "on" are listeners; null and false are left out.
function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined)
      made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== ""));
  return made;
}

function element(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

function hidden(text) {
  return element("span", { class: "hidden" }, text);
}

// What is read aloud in place of a sign.
function sign(shown, meaning) {
  return element(
    "span",
    {},
    element("span", { "aria-hidden": "true" }, shown),
    hidden(` ${meaning}`),
  );
}

function option(value, label) {
  return element("option", { value }, label);
}

function factList(facts) {
  const lines = facts.map(([what, words]) => [element("dt", {}, what), element("dd", {}, words)]);
  return element("dl", {}, lines);
}

// A table with a caption; the first cell of a row is its header.
function smallTable(caption, header, rows) {
  const cell = (content, place) =>
    place === 0
      ? element("th", { scope: "row" }, content)
      : element("td", { class: "number" }, content);
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, element("span", {}, caption)),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          header.map((name, place) =>
            element("th", { scope: "col", class: place ? "number" : null }, name),
          ),
        ),
      ),
      element(
        "tbody",
        {},
        rows.map((row) => element("tr", {}, row.map(cell))),
      ),
    ),
  );
}

function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
