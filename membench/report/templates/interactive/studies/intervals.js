// ==== intervals
// Tests as intervals around their thresholds: what lies to the right speaks for the claim. Each
// test has an axis of its own, unless all of a claim are to share one.

const LINE = 18;

// How far a test's interval reaches from its threshold, to either side.
function reachOf(test) {
  const ends = [test.value, test.low, test.high].filter((end) => end !== null);
  return Math.max(0, ...ends.map((end) => Math.abs(end - (test.threshold || 0)))) || 1;
}

// How many half-widths a test is above its threshold; null where that is not defined.
function clearness(test) {
  if (test.value === null || test.high === null || test.high <= test.value) return null;
  return (test.value - (test.threshold || 0)) / (test.high - test.value);
}

function weakest(tests) {
  const all = tests.map(clearness).filter((one) => one !== null);
  return all.length ? Math.min(...all) : null;
}

function intervalWords(test) {
  const end = (value, open) => (value === null ? open : significant(value));
  return `[${end(test.low, "−∞")}, ${end(test.high, "∞")}]`;
}

function valueWords(test) {
  return test.value === null ? "not a number" : significant(test.value);
}

function testWords(test) {
  const above = `above ${significant(test.threshold || 0)}: ${test.verdict}`;
  return `${test.name}: ${valueWords(test)} ${intervalWords(test)}, ${above}`;
}

// A plot with a line for each test. `among` are the tests that share an axis where that is wanted.
function intervalPlot(tests, among, width, label) {
  const common = Math.max(...among.map(reachOf));
  const height = tests.length * LINE;
  const middle = width / 2;
  return drawn(
    "svg",
    {
      class: "intervals",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      ...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" }),
    },
    drawn("line", { class: "zero", x1: middle, x2: middle, y1: 0, y2: height }),
    tests.map((test, place) =>
      intervalLine(test, state.common ? common : reachOf(test), width, (place + 0.5) * LINE),
    ),
  );
}

function intervalLine(test, reach, width, y) {
  const x = scaleOf([-reach, reach], 9, width - 9);
  const at = (value) => x.within(value - (test.threshold || 0));
  const [low, high] = [
    test.low === null ? 2 : at(test.low),
    test.high === null ? width - 2 : at(test.high),
  ];
  const ends = [
    test.low === null ? `M${low + 5},${y - 4}L${low},${y}L${low + 5},${y + 4}` : cap(low, y),
    test.high === null ? `M${high - 5},${y - 4}L${high},${y}L${high - 5},${y + 4}` : cap(high, y),
  ];
  return drawn(
    "g",
    { class: `test v${VERDICTS.indexOf(test.verdict)}` },
    drawn("title", {}, testWords(test)),
    drawn("rect", { class: "hit", x: 0, y: y - LINE / 2, width, height: LINE }),
    drawn("path", { class: "interval", d: `M${low},${y}H${high}${ends.join("")}` }),
    test.value === null ? [] : estimateMark(test, at(test.value), y),
  );
}

function cap(x, y) {
  return `M${x},${y - 4}V${y + 4}`;
}

// Filled: holds; hollow: undecided; a cross: does not hold.
function estimateMark(test, x, y) {
  if (test.verdict === FAILS)
    return drawn("path", { class: "mark", d: `M${x - 4},${y - 4}l8,8m0,-8l-8,8` });
  return drawn("circle", { class: "mark", cx: x, cy: y, r: 4 });
}

// How much of a study is measured.
function progressBar(study) {
  const width = 200;
  const done = study.planned ? (study.measured / study.planned) * width : 0;
  return element(
    "div",
    {},
    drawn(
      "svg",
      { class: "progress", viewBox: `0 0 ${width} 8`, width, height: 8, "aria-hidden": "true" },
      drawn("rect", { class: "all", x: 0.5, y: 0.5, width: width - 1, height: 7 }),
      drawn("rect", { class: "done", x: 0, y: 0, width: done, height: 8 }),
    ),
    element("span", { class: "muted" }, `${cellWords(study)} measured`),
  );
}

function cellWords(study) {
  return `${study.measured} of ${count(study.planned, "cell")}`;
}
