// ==== page
// The page as a whole: its controls, and drawing it anew whenever the view changes.

function showControls() {
  showLists();
  const all = rowsOfList();
  const present = VERDICTS.filter((verdict) => all.some((row) => row.verdict === verdict));
  const number = (verdict) => all.filter((row) => row.verdict === verdict).length;
  showSelect("verdict", [
    ["", `all (${all.length})`],
    ...present.map((verdict) => [verdict, `${verdict} (${number(verdict)})`]),
  ]);
  showSelect("scale", [["", "all"], ...scales().map((scale) => [scale, scale])]);
  byId("scale-choice").hidden = scales().length < 2;
  byId("common").checked = Boolean(state.common);
  if (byId("q").value !== state.q) byId("q").value = state.q;
}

// What stands behind the list in a sentence or two.
function showSummary() {
  const { studies } = DATA;
  const finished = studies.filter((study) => study.claims.length);
  const claims = finished.flatMap((study) => study.claims);
  const said = [HOLDS, UNDECIDED, FAILS]
    .map((verdict) => [claims.filter((claim) => claim.verdict === verdict).length, verdict])
    .filter(([number]) => number)
    .map(([number, verdict]) => `${number} ${number > 1 ? plural(verdict) : verdict}`);
  const planned = studies.reduce((sum, study) => sum + study.planned, 0);
  const measured = studies.reduce((sum, study) => sum + study.measured, 0);
  const left = studies.length - finished.length;
  const done = `${finished.length} of ${count(studies.length, "study", "studies")} finished. `;
  const tested = claims.length
    ? `${count(claims.length, "claim")} tested: ${said.join(", ")}. `
    : "";
  const rest = left
    ? [
        `${measured} of ${count(planned, "cell")} are measured; `,
        element("code", {}, "membench reproduce --all"),
        scales().length > 1
          ? " trains the rest; add --scale paper for the larger scale."
          : " trains the rest.",
      ]
    : [`All ${planned} cells are measured.`];
  byId("summary").replaceChildren(done, tested, ...rest);
}

function plural(verdict) {
  if (verdict === HOLDS) return "hold";
  return verdict === FAILS ? "do not hold" : verdict;
}

function showKey() {
  const signs = [HOLDS, UNDECIDED, FAILS].map((verdict) => element("li", {}, verdictSign(verdict)));
  byId("key").replaceChildren(
    element("li", {}, "Dashed: the threshold. To its right: for the claim."),
    ...signs,
  );
}

function show() {
  keepFocus(() => {
    showControls();
    showTable();
    showStudy();
  });
}

function start() {
  listen(["verdict", "scale"], ["common"], NO_FILTERS);
  byId("csv").addEventListener("click", () =>
    download("membench-studies.csv", "text/csv", testsAsCsv()),
  );
  showSummary();
  showKey();
  readAddress();
}

start();
