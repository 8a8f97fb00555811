// Two to four pinned entries side by side, and what the seeds say of every two of them.

const COMPARED = ["H", "S", "dA", "R", "cost"];

function showCompared(suite) {
  const names = pinned(suite);
  const rows = names.map((name) => rowOf(suite, name));
  if (rows.length < 2) {
    byId("compared").replaceChildren(
      element(
        "p",
        { class: "note" },
        "Pin two to four entries: tick them in the list, or click their dots.",
      ),
    );
    return;
  }
  const readings = readingsOf(suite);
  const lines = COMPARED.map((name) => [
    readings[name].long,
    ...rows.map((row) => withHalf(valueOf(suite, row, name, ""), readings[name])),
  ]);
  lines.unshift([
    "rank by H; by R",
    ...rows.map((row) => (row.ranks ? `${ranks(row.ranks.H)}; ${ranks(row.ranks.R)}` : MISSING)),
  ]);
  for (const [question, title] of [
    ["H", "strength for H"],
    ["R", "strength for R"],
  ]) {
    lines.push([title, ...rows.map((row) => strengthsOf(suite, row, question).join(" · "))]);
  }
  const networks = suite.tasks.length > 1 ? ", means over networks" : "";
  byId("compared").replaceChildren(
    smallTable(`The readings${networks}`, ["reading", ...names], lines),
    smallTable(
      "The first minus the second",
      ["pair", "H", "ΔA, points", "R"],
      pairLines(suite, names),
    ),
    element(
      "p",
      { class: "note" },
      "± is the half-width of the 95% interval of this one difference, seed by seed where both " +
        "were read in one environment. “≠”: the interval leaves out 0. Many such looks find some " +
        "by chance; the rank intervals allow for that. ",
      element("code", {}, `membench compare ${names[0]} ${names[1]}`),
      " prints the same by network.",
    ),
  );
}

function pairLines(suite, names) {
  const readings = readingsOf(suite);
  const lines = [];
  names.forEach((first, place) => {
    for (const second of names.slice(place + 1)) {
      const cells = ["H", "dA", "R"].map((reading) => {
        const value = difference(suite, reading, first, second);
        const text = withHalf(value, { ...readings[reading], isChange: true });
        const isTold = value && Math.abs(value[0]) > value[1];
        return isTold ? element("span", {}, `${text} `, sign("≠", "differs")) : text;
      });
      lines.push([`${first} − ${second}`, ...cells]);
    }
  });
  return lines;
}

function showBar(suite) {
  const names = pinned(suite);
  byId("bar").hidden = names.length === 0;
  const toCompared = () => {
    byId("compare").scrollIntoView();
    byId("compare-title").focus();
  };
  byId("bar").replaceChildren(
    element(
      "p",
      {},
      element("span", {}, `Pinned: ${names.join(", ")}`),
      element(
        "button",
        { type: "button", "data-key": "to compared", onclick: toCompared },
        "Side by side",
      ),
      element(
        "button",
        { type: "button", "data-key": "unpin", onclick: () => change({ pins: "" }) },
        "Unpin all",
      ),
    ),
  );
}
