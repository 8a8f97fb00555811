// The ranked lists and the front: filters, sorting, columns and their download.

// A column: its title, what a row sorts by (null: last), the cell, and what the download has.
function columnsOf(suite) {
  const columns = {
    rank: {
      title: "rank",
      isNumber: true,
      sortBy: (row) => rankKey(row),
      cell: (row) => ranks(rankOf(row)),
      plain: (row) => [ranks(rankOf(row)).replace("—", "")],
    },
    entry: { title: "entry", sortBy: (row) => row.name, plain: (row) => [row.name] },
    group: textColumn("group", (row) => row.group),
  };
  for (const [name, reading] of Object.entries(readingsOf(suite))) {
    columns[name] = readingColumn(suite, name, reading);
  }
  const failed = (row) => (row.cells[2] ? `${row.cells[2]} of ${row.cells[1]}` : "");
  return Object.assign(columns, {
    strength: {
      ...textColumn("strength", (row) =>
        row.values ? strengthsOf(suite, row, questionOf(state.list)).join(" · ") : "",
      ),
      isUnbroken: true,
    },
    claim: textColumn("claim", (row) =>
      row.claim ? (row.claim.holds ? "holds" : "not shown") : "",
    ),
    failed: { ...textColumn("failed runs", failed), sortBy: (row) => row.cells[2] },
    env: textColumn("environment", (row) => environmentsOf(row).join(", ")),
    file: textColumn("file", (row) => fileOf(suite, row)),
    notes: { ...textColumn("notes", (row) => notesOf(suite, row)), isWide: true },
  });
}

function readingColumn(suite, name, reading) {
  const value = (row) => valueOf(suite, row, name, state.task);
  return {
    title: reading.title,
    reading,
    isNumber: true,
    isReading: true,
    sortBy: (row) => (value(row) ? value(row)[0] : null),
    cell: (row) => readingCell(row, name, withHalf(value(row), reading)),
    plain: (row) => (value(row) || [null, null]).slice(0, name === "cost" ? 1 : 2),
  };
}

// A reading with the signs that belong to it.
function readingCell(row, name, text) {
  if (text === MISSING) return text;
  if (row.edge && row.edge[name] && !state.task) return `≥ ${text}`;
  const [question, control] = name.split("-");
  const beats = row.beats && row.beats[question];
  if (!beats || !control || name === "dA-R") return text;
  const signs = [];
  if (beats[0] && control === "less") signs.push(sign("✓", "above training less"));
  if (beats[1]) signs.push(sign("★", "above early stopping"));
  return element("span", {}, `${text} `, signs);
}

function questionOf(list) {
  return list === "R" ? "R" : "H";
}

function rankOf(row) {
  return row.ranks ? row.ranks[questionOf(state.list)] : null;
}

function rankKey(row) {
  const rank = rankOf(row);
  return rank ? rank[0] * 1000 + rank[1] : null;
}

function shownColumns(suite) {
  const columns = columnsOf(suite);
  const isThere = (name) => !state.task || !/-(less|stop)$/.test(name); // no excess on one network
  const wanted = state.columns
    ? state.columns.split(",")
    : [...LISTS[state.list].readings.filter(isThere), "strength", "notes"];
  const isShown = (name) => name === "rank" || name === "entry" || wanted.includes(name);
  return Object.entries(columns).filter(([name]) => isShown(name));
}

// The rows of the list, in the order of its estimate, and of them those that pass the filters.
function rowsOfList(suite) {
  const reading = questionOf(state.list);
  const inList = suite.rows.filter((row) => state.list !== "front" || row.front);
  const estimate = (row) => (row.values ? valueOf(suite, row, reading, "") : null);
  const ranked = inList.filter(isRanked);
  const controls = inList.filter((row) => row.kind === "control");
  const others = inList.filter((row) => !isRanked(row) && row.kind !== "control");
  // The board's order of H has ties broken; a control stands where its estimate is.
  if (reading === "R") ranked.sort((a, b) => estimate(b)[0] - estimate(a)[0]);
  for (const row of controls) {
    const place = ranked.findIndex((other) => estimate(other)[0] < estimate(row)[0]);
    ranked.splice(place < 0 ? ranked.length : place, 0, row);
  }
  return [...ranked, ...others];
}

function passes(suite, row) {
  const question = questionOf(state.list);
  const beats = (row.beats && row.beats[question]) || [];
  return (
    (state.others || isRanked(row)) &&
    (!state.group || row.group === state.group) &&
    (!state.env || environmentsOf(row).includes(Number(state.env))) &&
    (!state.task || actsOn(suite, row, state.task)) &&
    (!state.claim || Boolean(row.claim && row.claim.holds)) &&
    (!state.less || Boolean(beats[0])) &&
    (!state.stop || Boolean(beats[1])) &&
    textOf(suite, row).includes(state.q.trim().toLowerCase())
  );
}

function actsOn(suite, row, task) {
  const one = row.tasks[suite.tasks.indexOf(task)];
  return Boolean(one) && !one.skipped;
}

function textOf(suite, row) {
  const entry = suite.entries[row.entry] || { summary: "", source: [] };
  const source = entry.source.map(([words]) => words).join("");
  return [row.name, row.group, row.about, entry.summary, source].join(" ").toLowerCase();
}

function visibleRows(suite) {
  const rows = rowsOfList(suite).filter((row) => passes(suite, row));
  const { name, isDown } = sortShown();
  const column = columnsOf(suite)[name];
  return column ? sorted(rows, column, isDown) : rows;
}

function pinCell(suite, row) {
  if (!row.values) return element("td", { class: "pin" });
  const names = pinned(suite);
  const isPinned = names.includes(row.name);
  return element(
    "td",
    { class: "pin" },
    element("input", {
      type: "checkbox",
      checked: isPinned,
      "aria-label": `pin ${row.name}`,
      "data-key": `pin ${row.name}`,
      disabled: !isPinned && names.length === MOST_PINNED,
      onchange: () => togglePin(row.name),
    }),
  );
}

function bodyRow(suite, row, columns) {
  const [shown, meaning] = markOf(row);
  const cells = columns.map(([name, column]) => {
    if (name === "entry") {
      return element(
        "th",
        { scope: "row", class: "name" },
        sign(shown, `${meaning}: `),
        " ",
        element(
          "a",
          { href: hashOf({ entry: row.name }), "data-key": `open ${row.name}` },
          row.name,
        ),
      );
    }
    const kind = column.isNumber
      ? "number"
      : column.isWide
        ? "wide"
        : column.isUnbroken
          ? "name"
          : null;
    return element("td", { class: kind }, column.cell(row));
  });
  const classes = [
    row.first && row.first[questionOf(state.list)] ? "first" : "",
    row.claim ? "" : "control",
    pinned(suite).includes(row.name) ? "pinned" : "",
  ];
  return element("tr", { class: classes.join(" ").trim() || null }, pinCell(suite, row), cells);
}

function caption(suite, rows) {
  const { name, isDown } = sortShown();
  const column = columnsOf(suite)[name];
  const order = column
    ? `sorted by ${column.title}, ${isDown ? "largest first" : "smallest first"}: no ranking`
    : "in the order of the estimate";
  const where = state.task ? `; readings on ${state.task}, ranks of the whole board` : "";
  return (
    `${LISTS[state.list].title}, ${suite.name} version ${suite.version}: ` +
    `${rows.length} of ${count(rowsOfList(suite).length, "row")}, ${order}${where}`
  );
}

function showTable(suite) {
  const rows = visibleRows(suite);
  const columns = shownColumns(suite);
  const head = columns.map(([name, column]) => headerCell(name, column));
  byId("table").replaceChildren(
    element(
      "table",
      {},
      element("caption", {}, element("span", {}, caption(suite, rows))),
      element(
        "thead",
        {},
        element("tr", {}, element("th", { scope: "col", class: "pin" }, "pin"), head),
      ),
      element(
        "tbody",
        {},
        rows.map((row) => bodyRow(suite, row, columns)),
      ),
    ),
  );
  byId("status").textContent = `${count(rows.length, "row")} shown`;
}

function tableAsCsv(suite) {
  const columns = shownColumns(suite);
  const header = columns.flatMap(([name, column]) =>
    column.isReading && name !== "cost"
      ? [column.title, `${column.title} half-width`]
      : [column.title],
  );
  const lines = visibleRows(suite).map((row) => columns.flatMap(([, column]) => column.plain(row)));
  return asCsv(header, lines);
}
