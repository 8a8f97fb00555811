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

// A quantity of unknown scale, with three digits that count.
function significant(value) {
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(2).replaceAll("-", "−");
  return String(Number(value.toPrecision(3))).replace("-", "−");
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

// A table with a caption; the first cell of a row is its header, the others are numbers unless
// `kinds` has another class for their column.
function smallTable(caption, header, rows, kinds = header.map((_, place) => place && "number")) {
  const cell = (content, place) =>
    place === 0
      ? element("th", { scope: "row" }, content)
      : element("td", { class: kinds[place] || null }, content);
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
            element("th", { scope: "col", class: kinds[place] || null }, name),
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

const ROLES = {
  "": "table",
  "thead, tbody": "rowgroup",
  tr: "row",
  "thead th": "columnheader",
  "tbody th": "rowheader",
  td: "cell",
};

// Let the rows of a table be stacked on a narrow screen, which takes their roles from cells unless
// these are said.
function stacked(table) {
  for (const [parts, role] of Object.entries(ROLES)) {
    const found = parts ? table.querySelectorAll(parts) : [table];
    for (const part of found) part.setAttribute("role", role);
  }
  const titles = [...table.querySelectorAll("thead th")].map((header) => header.textContent);
  for (const cell of table.querySelectorAll("td.number"))
    cell.setAttribute("data-title", titles[cell.cellIndex]);
  table.classList.add("stacked");
  return table;
}

function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
