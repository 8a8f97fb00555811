// ==== lists
// The two lists, of claims and of tests: columns, filters, and the download of all tests.

const PLOT = 170;
const AXIS = "tests: against | for";

function columnsOf(list) {
  return list === "tests" ? testColumns() : claimColumns();
}

const studyColumn = { title: "study", sortBy: (row) => row.study.title, isName: true };
const verdictColumn = {
  title: "verdict",
  sortBy: (row) => VERDICTS.indexOf(row.verdict),
  cell: (row) => verdictSign(row.verdict),
};

function claimColumns() {
  return {
    study: studyColumn,
    claim: {
      title: "claim",
      sortBy: (row) => row.claim || row.study.claim,
      cell: claimCell,
      isWide: true,
    },
    tests: {
      title: AXIS,
      isReading: true,
      sortBy: (row) => weakest(row.tests),
      cell: (row) =>
        row.tests.length
          ? intervalPlot(row.tests, row.tests, PLOT, row.tests.map(testWords).join("; "))
          : row.study.problem || progressBar(row.study),
    },
    verdict: verdictColumn,
    cost: {
      title: "minutes",
      isNumber: true,
      isReading: true,
      sortBy: (row) => minutes(row.study),
      cell: (row) => fixed(minutes(row.study), 1),
    },
  };
}

function testColumns() {
  const number = (title, of) => ({
    title,
    isNumber: true,
    isReading: true,
    sortBy: of,
    cell: (row) => (of(row) === null ? MISSING : significant(of(row))),
  });
  return {
    study: studyColumn,
    test: {
      title: "test",
      sortBy: (row) => row.name,
      cell: (row) => [row.name, row.claim ? element("div", { class: "muted" }, row.claim) : ""],
      isWide: true,
    },
    tests: {
      title: AXIS,
      isReading: true,
      sortBy: clearness,
      cell: (row) => intervalPlot([row], row.of.tests, PLOT, ""),
    },
    verdict: verdictColumn,
    value: { ...number("value", (row) => row.value), cell: valueWords },
    low: {
      title: "95% interval",
      isNumber: true,
      isReading: true,
      sortBy: (row) => row.low,
      cell: intervalWords,
    },
    threshold: number("above", (row) => row.threshold),
    method: { ...textColumn("method", (row) => row.method), isWide: true },
  };
}

// The sentence of a study stands once above its claims, as long as these are together.
function claimCell(row, before) {
  const isAgain = before && before.study === row.study;
  const own = row.claim ? element("strong", {}, row.claim) : null;
  if (isAgain && own) return own;
  return element("span", {}, own, own && row.study.claim ? ": " : null, row.study.claim);
}

function visibleRows() {
  const rows = rowsOfList().filter(passes);
  const { name, isDown } = sortShown();
  const column = columnsOf(state.list)[name];
  return column ? sorted(rows, column, isDown) : rows;
}

function bodyRow(row, before, columns) {
  const cells = columns.map(([, column]) => {
    if (column.isName) {
      const again = before && before.study === row.study;
      return element(
        "th",
        { scope: "row", class: "name" },
        element(
          "a",
          {
            href: hashOf({ study: row.study.stem }),
            "data-key": again ? null : `open ${row.study.stem}`,
          },
          row.study.title,
        ),
        row.study.figure ? element("div", { class: "muted" }, row.study.figure) : null,
      );
    }
    const kind = column.isNumber ? "number" : column.isWide ? "wide" : null;
    return element("td", { class: kind }, column.cell(row, before));
  });
  return element("tr", {}, cells);
}

function caption(rows) {
  const { name, isDown } = sortShown();
  const column = columnsOf(state.list)[name];
  const order = column
    ? `sorted by ${column.title}, ${isDown ? "largest" : "smallest"} first`
    : "in the order of the paper's figures";
  const axis = state.common ? "the tests of a claim share an axis" : "each has an axis of its own";
  const all = count(rowsOfList().length, state.list === "tests" ? "test" : "claim");
  return `${rows.length} of ${all}, ${order}; dots are values, lines 95% intervals, ${axis}`;
}

function showTable() {
  const rows = visibleRows();
  const columns = Object.entries(columnsOf(state.list));
  const head = columns.map(([name, column]) => headerCell(name, column));
  const body = rows.map((row, place) => bodyRow(row, rows[place - 1], columns));
  const table = element(
    "table",
    {},
    element("caption", {}, element("span", {}, caption(rows))),
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, body),
  );
  byId("table").replaceChildren(stacked(table));
  const noun = state.list === "tests" ? "test" : "claim";
  byId("status").textContent = `${count(rows.length, noun)} shown`;
}

function testsAsCsv() {
  const header = [
    ...["study", "scale", "figure", "claim", "test", "value", "low", "high", "threshold"],
    ...["p against", "method", "verdict", "verdict of the claim"],
  ];
  const lines = testRows().map((row) => [
    row.study.name,
    row.study.scale,
    row.study.figure,
    row.claim || row.study.claim,
    row.name,
    row.value,
    row.low,
    row.high,
    row.threshold,
    row.p,
    row.method,
    row.verdict,
    row.of.verdict,
  ]);
  return asCsv(header, lines);
}
