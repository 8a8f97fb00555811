// The page as a whole: its controls, and drawing it anew whenever the view changes.

const CHECKS = ["claim", "less", "stop", "others"];
const SELECTS = ["group", "task", "env", "x", "y"];

function showControls(suite) {
  const groups = [...new Set(suite.rows.map((row) => row.group))];
  const readings = Object.entries(readingsOf(suite)).map(([name, reading]) => [name, reading.long]);
  byId("suite-choice").hidden = DATA.suites.length < 2;
  byId("suite").replaceChildren(...DATA.suites.map((one) => option(one.name, one.name)));
  byId("suite").value = suite.name;
  showSelect("group", [["", "all"], ...groups.map((group) => [group, group])]);
  showSelect("task", [["", "all, in the mean"], ...suite.tasks.map((task) => [task, task])]);
  showSelect("env", [
    ["", "all"],
    ...suite.environments.map((one, place) => [String(place + 1), `${place + 1}: ${one.name}`]),
  ]);
  showSelect("x", readings);
  showSelect("y", readings);
  for (const id of CHECKS) byId(id).checked = Boolean(state[id]);
  if (byId("q").value !== state.q) byId("q").value = state.q;
  showLists();
}

function showColumnChoice(suite) {
  const shown = shownColumns(suite).map(([name]) => name);
  const choice = Object.entries(columnsOf(suite)).filter(
    ([name]) => name !== "rank" && name !== "entry",
  );
  byId("column-choice").replaceChildren(
    ...choice.map(([name, column]) => {
      const box = element("input", {
        type: "checkbox",
        "data-key": `column ${name}`,
        checked: shown.includes(name),
      });
      box.addEventListener("change", () => {
        const kept = shown.filter(
          (other) => other !== name && other !== "rank" && other !== "entry",
        );
        change({ columns: (box.checked ? [...kept, name] : kept).join(",") || "none" });
      });
      return element("label", {}, box, ` ${column.reading ? column.reading.long : column.title}`);
    }),
  );
}

function showAbout(suite) {
  const gates = suite.gates.map((gate) => {
    const verdict = gate.valid ? `valid, ${count(gate.epochs, "epoch")}` : gate.reasons.join("; ");
    return `${gate.task}: ${verdict}`;
  });
  const { choosing, confirming } = suite;
  const seeds = `strengths are chosen on ${choosing}, rows are read on ${confirming} others`;
  const said = [
    ["suite", `${suite.name}, version ${suite.version}`],
    ["signals", suite.signals.join(", ")],
    ["seeds", seeds],
    ["networks", gates.join("; ")],
    [
      "environments",
      suite.environments.map((one, place) => `${place + 1}: ${one.facts}`).join("; ") || MISSING,
    ],
    ["commit of membench", suite.commit || "not recorded"],
  ];
  byId("about").replaceChildren(
    factList(said),
    ...suite.notes.map((note) => element("p", { class: "note" }, note)),
  );
}

function show() {
  const suite = suiteShown();
  keepFocus(() => {
    showControls(suite);
    byId("suite-title").textContent = `${suite.name}, version ${suite.version}`;
    showColumnChoice(suite);
    showTable(suite);
    showFigure(suite);
    showCompared(suite);
    showBar(suite);
    showAbout(suite);
    showEntry(suite);
  });
}

function start() {
  listen(SELECTS, CHECKS, NO_FILTERS);
  byId("suite").addEventListener("change", () =>
    change({ ...DEFAULTS, suite: byId("suite").value }),
  );
  byId("csv").addEventListener("click", () =>
    download(
      `membench-${suiteShown().name}-${state.list}.csv`,
      "text/csv",
      tableAsCsv(suiteShown()),
    ),
  );
  byId("svg").addEventListener("click", () =>
    download(
      `membench-${suiteShown().name}-${state.y}-${state.x}.svg`,
      "image/svg+xml",
      svgFile(byId("figure").querySelector("svg")),
    ),
  );
  window.addEventListener("resize", () => keepFocus(() => showFigure(suiteShown())));
  readAddress();
}

start();
