// What the page knows: the embedded data, and how its readings are found.

const DATA = JSON.parse(byId("data").textContent);
const LISTS = {
  H: { title: "Noise held back H", readings: ["H", "S", "dA", "H-less"] },
  R: { title: "Recovery R", readings: ["R", "dA-R", "R-less"] },
  front: { title: "The front", readings: ["H", "dA", "H-less"] },
};
const MOST_PINNED = 4;
// What "Show all again" goes back to.
const NO_FILTERS = {
  sort: "",
  q: "",
  group: "",
  task: "",
  env: "",
  claim: "",
  less: "",
  stop: "",
  others: "1",
};
const DEFAULTS = {
  suite: "",
  list: "H",
  ...NO_FILTERS,
  columns: "",
  x: "dA",
  y: "H",
  pins: "",
  entry: "",
};
const PANEL = "entry";
const SHARE = { digits: 2, isChange: false };
const CHANGE = { digits: 2, isChange: true };
const POINTS = { digits: 1, isChange: true };

// The readings of a suite, by the names that axes, columns and the address have.
function readingsOf(suite) {
  const readings = {
    H: { title: "H", long: "noise held back H", ...SHARE },
    S: { title: "S", long: "suppression S", ...SHARE },
    dA: { title: "ΔA", long: "real accuracy ΔA, points", ...POINTS },
    R: { title: "R", long: "recovery R", ...CHANGE },
    "dA-R": { title: "ΔA (at R)", long: "real accuracy at the strength for R, points", ...POINTS },
  };
  for (const signal of suite.noisy) {
    const level = signal.replace("mixed@", "");
    readings[`dA ${signal}`] = {
      title: `ΔA@${level}`,
      long: `accuracy under ${signal}, points`,
      ...POINTS,
    };
  }
  for (const name of suite.further) {
    const [reading, signal] = name.split(" ");
    const long = reading === "R" ? "recovery R" : "suppression S";
    readings[name] = {
      title: name,
      long: `${long}, ${signal}`,
      ...(reading === "R" ? CHANGE : SHARE),
    };
  }
  return Object.assign(readings, {
    "H-equal": { title: "H, equal compute", long: "H at equal compute", ...SHARE },
    "R-equal": { title: "R, equal compute", long: "R at equal compute", ...CHANGE },
    "H-less": { title: "H beyond training less", long: "H beyond training less", ...CHANGE },
    "H-stop": { title: "H beyond early stopping", long: "H beyond early stopping", ...CHANGE },
    "R-less": { title: "R beyond training less", long: "R beyond training less", ...CHANGE },
    "R-stop": { title: "R beyond early stopping", long: "R beyond early stopping", ...CHANGE },
    cost: { title: "cost", long: "cost, steps of the plain network", digits: 1, unit: "×" },
  });
}

// A reading of a row, [mean, half-width], over all networks or on one; null where there is none.
function valueOf(suite, row, name, task) {
  if (name === "cost") return row.cost === null || row.cost === undefined ? null : [row.cost, null];
  if (!task) return (row.values && row.values[name]) || null;
  const one = row.tasks[suite.tasks.indexOf(task)];
  if (!one || !one.H || !one.R) return null;
  if (name === "dA-R") return one.R.dA;
  if (name === "R" || name === "R-equal" || suite.further.includes(name))
    return one.R[name] || null;
  if (name.startsWith("dA ")) return one.H.noisy[suite.noisy.indexOf(name.slice(3))] || null;
  return one.H[name] || null;
}

function rowOf(suite, name) {
  return suite.rows.find((row) => row.name === name);
}

// The first minus the second, [mean, half-width], as `membench compare` has it; null without one.
function difference(suite, reading, first, second) {
  const { names } = suite.pairs;
  const [i, j] = [names.indexOf(first), names.indexOf(second)];
  if (i < 0 || j < 0 || i === j || !suite.pairs[reading]) return null;
  const [low, high] = [Math.min(i, j), Math.max(i, j)];
  const place = low * names.length - (low * (low + 1)) / 2 + high - low - 1;
  const scale = 10000;
  const [means, halves] = suite.pairs[reading];
  return [((i < j ? 1 : -1) * means[place]) / scale, halves[place] / scale];
}

function environmentsOf(row) {
  return [...new Set(row.tasks.filter((task) => task && task.env).map((task) => task.env))];
}

function isRanked(row) {
  return row.kind === "ranked" || row.kind === "measured";
}

// The strength of each network for a question, "H" or "R".
function strengthsOf(suite, row, question) {
  return row.tasks.map((task, place) => {
    const read = task && task[question];
    const shown = task && task.skipped ? "skipped" : read && read.strength;
    const network = suite.tasks[place].split("/").pop();
    return suite.tasks.length > 1 ? `${network} ${shown || MISSING}` : shown || MISSING;
  });
}

function fileOf(suite, row) {
  const entry = suite.entries[row.entry];
  return (entry && entry.file) || "";
}

// What there is to say of a row beside its numbers.
function notesOf(suite, row) {
  const notes = row.reason ? [row.reason] : [];
  row.tasks.forEach((task, place) => {
    if (row.values && task && task.skipped) notes.push(`cannot act on ${suite.tasks[place]}`);
  });
  if (row.edge && (row.edge.H || row.edge.R)) {
    const edges = ["H", "R"].filter((question) => row.edge[question]);
    notes.push(`edge of grid (${edges.join(", ")})`);
  }
  if (row.runs) {
    const [failed, runs] = row.runs;
    const [, planned, allFailed] = row.cells;
    if (failed) notes.push(`${failed} of ${count(runs, "run")} failed`);
    if (allFailed > failed) {
      notes.push(`${allFailed - failed} of ${count(planned - runs, "choosing run")} failed`);
    }
  }
  if (row.values && !isRanked(row)) notes.push(`${row.kind}: no rank`);
  return notes.join("; ");
}

// The sign before a name, and what it means.
function markOf(row) {
  if (row.front) return ["◆", "on the front"];
  if (row.claim && row.claim.holds) return ["●", "holds the claim"];
  return row.claim ? ["○", "not shown to hold the claim"] : ["□", "without rank"];
}

function suiteShown() {
  return DATA.suites.find((suite) => suite.name === state.suite) || DATA.suites[0];
}

function pinned(suite) {
  const names = state.pins ? state.pins.split(",") : [];
  return names.filter((name) => rowOf(suite, name) && rowOf(suite, name).values);
}

function togglePin(name) {
  const names = pinned(suiteShown());
  const isPinned = names.includes(name);
  if (!isPinned && names.length === MOST_PINNED) {
    byId("status").textContent = `${MOST_PINNED} entries are pinned: unpin one first`;
    return;
  }
  const kept = isPinned ? names.filter((other) => other !== name) : [...names, name];
  change({ pins: kept.join(",") });
}
