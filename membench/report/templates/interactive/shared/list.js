// ==== list
// Lists with columns: sorting by a column, the header that does it, and the download.

function textColumn(title, textOf) {
  return {
    title,
    sortBy: (row) => textOf(row) || null,
    cell: textOf,
    plain: (row) => [textOf(row)],
  };
}

// Sort by a column, what has no value last whichever way round; equal rows keep their order.
function sorted(rows, column, isDown) {
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en") : a - b);
  const keyed = rows.map((row, place) => ({ row, place, key: column.sortBy(row) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null)
      return (a.key === null) - (b.key === null) || a.place - b.place;
    return (isDown ? -1 : 1) * compare(a.key, b.key) || a.place - b.place;
  });
  return keyed.map((one) => one.row);
}

function sortShown() {
  const isDown = state.sort.startsWith("-");
  return { name: isDown ? state.sort.slice(1) : state.sort, isDown };
}

// The first click on numbers gives the largest first; the second turns round, the third undoes.
function nextSort(name, column) {
  const first = column.isReading ? `-${name}` : name;
  const second = column.isReading ? name : `-${name}`;
  if (state.sort === first) return second;
  return state.sort === second ? "" : first;
}

function headerCell(name, column) {
  const { name: sortName, isDown } = sortShown();
  const isSorted = sortName === name;
  const arrow = isSorted ? (isDown ? " ▼" : " ▲") : "";
  return element(
    "th",
    {
      scope: "col",
      class: column.isNumber ? "number" : null,
      "aria-sort": isSorted ? (isDown ? "descending" : "ascending") : "none",
    },
    element(
      "button",
      {
        type: "button",
        "data-key": `sort ${name}`,
        onclick: () => change({ sort: nextSort(name, column) }),
      },
      column.title,
      element("span", { "aria-hidden": "true" }, arrow),
    ),
  );
}

// A cell of the download: quoted where it must be, and never a formula of a spreadsheet.
function csvCell(value) {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+@\t\r-]/.test(value) ? `'${value}` : value;
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function asCsv(header, lines) {
  return [header, ...lines].map((line) => line.map(csvCell).join(",") + "\r\n").join("");
}
