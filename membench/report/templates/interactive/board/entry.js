// The panel of one entry: where it is from, every strength that was tried, and how it learned.

const PANELS = [
  {
    title: "real labels",
    curves: [
      ["real_val", "validation", ""],
      ["real_train", "training", "fit"],
    ],
  },
  {
    title: "noisy labels",
    curves: [
      ["noisy_val", "validation", ""],
      ["noisy_wrong", "wrong labels memorized", "fit"],
    ],
  },
  { title: "random labels", curves: [["rand_train", "training", "fit"]] },
];

const MAIN = ["H", "S", "dA", "R"];

function showEntry(suite) {
  const row = state.entry ? rowOf(suite, state.entry) : null;
  if (!row) {
    hidePanel();
    return;
  }
  const entry = suite.entries[row.entry];
  showPanel(row.name, [
    aboutEntry(suite, row),
    facts(suite, row),
    ...suite.tasks.map((task, place) => onTask(suite, row, task, place)),
    citation(entry && entry.bibtex),
  ]);
}

function aboutEntry(suite, row) {
  const entry = suite.entries[row.entry];
  const summary = row.about || (entry && entry.summary) || "";
  const source = entry ? entry.source : [];
  return element(
    "div",
    {},
    summary ? element("p", {}, summary) : null,
    source.length ? element("p", { class: "muted" }, "Source: ", source.map(linked)) : null,
  );
}

function facts(suite, row) {
  const entry = suite.entries[row.entry];
  const [done, planned, failed, diverged] = row.cells;
  const said = [["group", row.group]];
  if (entry && entry.acts_on.length) said.push(["acts on", entry.acts_on.join(", ")]);
  if (row.ranks && row.ranks.H) {
    said.push([
      "rank",
      `${ranks(row.ranks.H)} by noise held back, ${ranks(row.ranks.R)} by recovery`,
    ]);
  }
  if (row.claim) said.push(["claim", claimWords(row.claim)]);
  if (row.values) said.push(["over all networks", readingWords(suite, row.values, MAIN)]);
  if (row.confirmed) said.push(["confirmed by the keeper", confirmedWords(suite, row.confirmed)]);
  if (row.cost > 1)
    said.push(["at equal compute", readingWords(suite, row.values || {}, ["H-equal", "R-equal"])]);
  if (suite.further.some((name) => row.values && row.values[name]))
    said.push(["under further signals", readingWords(suite, row.values, suite.further)]);
  if (row.cost !== undefined)
    said.push(["cost of a step", withHalf([row.cost, null], readingsOf(suite).cost)]);
  said.push(["runs", `${done} of ${planned} done, ${failed} failed, ${diverged} of them diverged`]);
  if (row.runs)
    said.push(["runs of the chosen strengths", `${row.runs[0]} of ${row.runs[1]} failed`]);
  if (notesOf(suite, row)) said.push(["notes", notesOf(suite, row)]);
  const environments = environmentsOf(row).map(
    (number) => `${number}: ${suite.environments[number - 1].facts}`,
  );
  said.push(["environment", environments.join("; ") || MISSING]);
  said.push(["file", fileOf(suite, row) || MISSING]);
  said.push(["commit of membench", suite.commit || "not recorded"]);
  return factList(said);
}

function claimWords(claim) {
  const p = claim.p < 0.001 ? "< 0.001" : `= ${claim.p.toFixed(3)}`;
  const noisy = claim.noisy.map((bound) => `, under noise ≥ ${signed(bound, 2)}`).join("");
  return (
    `${claim.holds ? "holds" : "not shown to hold"} (p ${p}); with 95% each for itself: ` +
    `H ≥ ${fixed(claim.H, 2)}, ΔA ≥ ${signed(claim.dA, 2)}${noisy}`
  );
}

function readingWords(suite, values, names) {
  const readings = readingsOf(suite);
  const found = names.filter((name) => values[name]);
  if (!found.length) return "not read";
  return found
    .map((name) => `${readings[name].title} ${withHalf(values[name], readings[name])}`)
    .join(", ");
}

function confirmedWords(suite, confirmed) {
  const seeds = count(confirmed.seeds, "fresh seed");
  return `on ${confirmed.on}, on ${seeds}: ${readingWords(suite, confirmed.values, MAIN)}`;
}

function onTask(suite, row, task, place) {
  const one = row.tasks[place];
  const heading = element("h3", {}, task);
  if (!one) return element("section", {}, heading, element("p", {}, "Not run."));
  if (one.skipped)
    return element("section", {}, heading, element("p", {}, `Cannot act here: ${one.skipped}.`));
  return element(
    "section",
    {},
    heading,
    one.H ? confirmedTable(suite, task, one) : null,
    one.points.length > 1 ? strengthTable(suite, task, one) : null,
    one.curve ? curves(suite, one.curve, row.name === "none" ? null : suite.plain[place]) : null,
  );
}

function confirmedTable(suite, task, one) {
  const readings = readingsOf(suite);
  const line = (question, title) => {
    const read = one[question];
    const numbers = ["H", "S", "dA", "R"].map((name) => withHalf(read[name], readings[name]));
    const noisy = read.noisy.map((pair) => withHalf(pair, POINTS));
    return [
      `${title}: ${read.strength}`,
      ...numbers,
      ...noisy,
      `${read.runs[0]} of ${read.runs[1]}`,
    ];
  };
  const noisy = suite.noisy.map((signal) => `ΔA ${signal}`);
  return smallTable(
    `${task}: read on ${count(suite.confirming, "confirming seed")}`,
    ["chosen strength", "H", "S", "ΔA", "R", ...noisy, "failed"],
    [line("H", "for H"), line("R", "for R")],
  );
}

function strengthTable(suite, task, one) {
  const lines = one.points.map(([label, H, dA, R, failed, cells]) => {
    const chosen = ["H", "R"].filter(
      (question) => one[question] && one[question].strength === label,
    );
    const name = chosen.length
      ? element("span", {}, element("strong", {}, label), ` chosen for ${chosen.join(", ")}`)
      : label;
    return [name, fixed(H, 2), signed(dA, 1), signed(R, 2), failed ? `${failed} of ${cells}` : "0"];
  });
  return smallTable(
    `${task}: strengths tried, means over ${count(suite.choosing, "choosing seed")}`,
    ["strength", "H", "ΔA", "R", "failed"],
    lines,
  );
}

// One panel for each kind of labels; solid lines are clean images, dashed ones what is fitted.
function curves(suite, curve, plain) {
  const panels = PANELS.flatMap((panel) => {
    const levels = panel.title === "noisy labels" ? suite.noisy : [""];
    return levels.map((level, place) => learningPanel(panel, level, place, curve, plain));
  });
  const swatch = (classes) =>
    drawn(
      "svg",
      { width: 34, height: 8, "aria-hidden": "true", class: "swatch" },
      drawn("line", { class: `curve ${classes}`, x1: 0, x2: 34, y1: 4, y2: 4 }),
    );
  const key = [
    ["", `at strength ${curve.strength}: validation`],
    ["fit", "training labels, or wrong ones, fitted"],
  ];
  if (plain) key.push(["of-none", "the same without a regularizer"]);
  return element(
    "div",
    {},
    element("div", { class: "panels" }, panels.filter(Boolean)),
    element(
      "ul",
      { class: "links muted" },
      key.map(([classes, words]) => element("li", {}, swatch(classes), words)),
    ),
  );
}

function learningPanel(panel, level, place, curve, plain) {
  const of = (one, name) => (level && one[name] ? one[name][place] : one[name]) || [];
  const shown = panel.curves.filter(([name]) => of(curve, name).length);
  if (!shown.length) return null;
  const [width, height, left, bottom] = [250, 150, 32, 22];
  const last = Math.max(...curve.epochs, ...(plain ? plain.epochs : []));
  const x = scaleOf([0, last], left, width - 12);
  const y = scaleOf([0, 1], height - bottom, 8);
  const path = (one, name, classes) => {
    const points = one.epochs
      .map((epoch, i) => [epoch, of(one, name)[i]])
      .filter((at) => typeof at[1] === "number");
    return drawn("polyline", {
      class: `curve ${classes}`,
      points: points.map((at) => `${x(at[0])},${y(at[1])}`).join(" "),
    });
  };
  const title = level ? `${panel.title}, ${level}` : panel.title;
  const ends = shown.map(([name, words]) => `${words} ${endOf(curve, of(curve, name))}`).join(", ");
  return element(
    "figure",
    {},
    drawn(
      "svg",
      {
        viewBox: `0 0 ${width} ${height}`,
        width,
        height,
        role: "img",
        "aria-label": `${title}: ${ends}`,
      },
      [0, 0.5, 1].map((value) => [
        drawn("line", { class: "grid", x1: left, x2: width - 12, y1: y(value), y2: y(value) }),
        drawn(
          "text",
          { class: "quiet", x: left - 4, y: y(value) + 4, "font-size": 11, "text-anchor": "end" },
          String(100 * value),
        ),
      ]),
      [0, last].map((value) =>
        drawn(
          "text",
          { class: "quiet", x: x(value), y: height - 6, "font-size": 11, "text-anchor": "middle" },
          String(value),
        ),
      ),
      plain ? shown.map(([name, , classes]) => path(plain, name, `of-none ${classes}`)) : [],
      shown.map(([name, , classes]) => path(curve, name, classes)),
    ),
    element("figcaption", {}, `${title} (%, by epoch): ${ends}`),
  );
}

function endOf(curve, values) {
  const end = values[values.length - 1];
  return typeof end === "number" ? `${fixed(100 * end, 1)}%` : MISSING;
}
