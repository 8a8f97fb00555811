// ==== studies
// What the page knows: the embedded data, as rows of claims and of tests.

const DATA = JSON.parse(byId("data").textContent);
const LISTS = { claims: { title: "Claims" }, tests: { title: "All tests" } };
// What "Show all again" goes back to.
const NO_FILTERS = { sort: "", q: "", verdict: "", scale: "" };
const DEFAULTS = { list: "claims", ...NO_FILTERS, common: "", study: "" };
const PANEL = "study";
const [HOLDS, UNDECIDED, FAILS] = DATA.verdicts;
const [NOT_FINISHED, FAILED] = ["not finished", "failed"];
const VERDICTS = [HOLDS, UNDECIDED, FAILS, NOT_FINISHED, FAILED];
const SIGNS = ["●", "○", "✕", "…", "!"];

// A row for each claim; a study without a finding has one, without tests.
function claimRows() {
  return DATA.studies.flatMap((study) =>
    study.claims.length
      ? study.claims.map((claim) => ({ study, ...claim }))
      : [{ study, claim: "", verdict: study.verdict, tests: [] }],
  );
}

function testRows() {
  return claimRows().flatMap((row) => row.tests.map((test) => ({ ...row, ...test, of: row })));
}

function rowsOfList() {
  return state.list === "tests" ? testRows() : claimRows();
}

function textOf(row) {
  const { study } = row;
  const source = study.source.map(([words]) => words);
  const tests = row.tests.flatMap((test) => [test.name, test.method]);
  const own = row.of ? [row.name, row.method] : tests;
  return [study.title, study.figure, study.claim, study.question, row.claim, ...own, ...source]
    .join(" ")
    .toLowerCase();
}

function passes(row) {
  return (
    (!state.verdict || row.verdict === state.verdict) &&
    (!state.scale || row.study.scale === state.scale) &&
    textOf(row).includes(state.q.trim().toLowerCase())
  );
}

function scales() {
  return [...new Set(DATA.studies.map((study) => study.scale))];
}

function missing(study) {
  return study.planned - study.measured - study.failed;
}

// What trains and analyses a study, or what is missing of it.
function commandFor(study) {
  const scale = study.scale === "quick" ? "" : ` --scale ${study.scale}`;
  return `membench reproduce ${study.name}${scale}`;
}

function minutes(study) {
  return (study.seconds || 0) / 60;
}

function verdictSign(verdict) {
  return element(
    "span",
    { class: `verdict v${VERDICTS.indexOf(verdict)}` },
    element("span", { "aria-hidden": "true" }, `${SIGNS[VERDICTS.indexOf(verdict)]}\u00a0`),
    verdict,
  );
}
