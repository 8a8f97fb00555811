// The trade-off: any two readings of the rows that the list shows, as dots with their intervals.

const MARGIN = { left: 62, right: 18, top: 14, bottom: 46 };

function dotsOf(suite) {
  const rows = new Set([...visibleRows(suite), ...pinned(suite).map((name) => rowOf(suite, name))]);
  const dots = [];
  for (const row of rows) {
    const x = valueOf(suite, row, state.x, state.task);
    const y = valueOf(suite, row, state.y, state.task);
    if (x && y && x[0] !== null && y[0] !== null) dots.push({ row, x, y });
  }
  return dots.sort((a, b) => a.x[0] - b.x[0] || a.y[0] - b.y[0]);
}

function frame(x, y, width, height, readings) {
  const [bottom, right] = [height - MARGIN.bottom, width - MARGIN.right];
  const parts = [];
  for (const value of ticks(...x.range, width < 500 ? 5 : 8)) {
    const line = { x1: x(value), x2: x(value), y1: MARGIN.top, y2: bottom };
    parts.push(drawn("line", { class: value === 0 ? "zero" : "grid", ...line }));
    parts.push(
      drawn(
        "text",
        { class: "quiet", x: x(value), y: bottom + 16, "font-size": 12, "text-anchor": "middle" },
        fixed(value, tickDigits(x.range)),
      ),
    );
  }
  for (const value of ticks(...y.range, 6)) {
    const line = { x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) };
    parts.push(drawn("line", { class: value === 0 ? "zero" : "grid", ...line }));
    parts.push(
      drawn(
        "text",
        {
          class: "quiet",
          x: MARGIN.left - 6,
          y: y(value) + 4,
          "font-size": 12,
          "text-anchor": "end",
        },
        fixed(value, tickDigits(y.range)),
      ),
    );
  }
  const middle = (MARGIN.top + bottom) / 2;
  return drawn(
    "g",
    { "aria-hidden": "true" },
    parts,
    drawn("path", { class: "axis", d: `M${MARGIN.left},${MARGIN.top}V${bottom}H${right}` }),
    drawn(
      "text",
      { x: (MARGIN.left + right) / 2, y: height - 8, "font-size": 13, "text-anchor": "middle" },
      readings[state.x].long,
    ),
    drawn(
      "text",
      {
        x: 16,
        y: middle,
        "font-size": 13,
        "text-anchor": "middle",
        transform: `rotate(-90 16 ${middle})`,
      },
      readings[state.y].long,
    ),
  );
}

function tickDigits([low, high]) {
  return high - low > 8 ? 0 : high - low > 0.8 ? 1 : 2;
}

// Diamond: on the front; circle: a ranked row, filled if it holds the claim; square: no rank.
function shape(row, x, y) {
  const [shown] = markOf(row);
  if (shown === "◆") return drawn("path", { class: "shape", d: `M${x},${y - 7}l7,7l-7,7l-7,-7z` });
  if (shown === "□")
    return drawn("rect", { class: "shape", x: x - 4.5, y: y - 4.5, width: 9, height: 9 });
  return drawn("circle", { class: "shape", cx: x, cy: y, r: 5 });
}

function cross(dot, x, y) {
  const parts = [];
  const [atX, atY] = [x(dot.x[0]), y(dot.y[0])];
  if (dot.x[1])
    parts.push(`M${x.within(dot.x[0] - dot.x[1])},${atY}H${x.within(dot.x[0] + dot.x[1])}`);
  if (dot.y[1])
    parts.push(`M${atX},${y.within(dot.y[0] - dot.y[1])}V${y.within(dot.y[0] + dot.y[1])}`);
  return drawn("path", { class: "cross", d: parts.join("") || "M0,0" });
}

function sentenceOf(suite, dot, readings) {
  const [, meaning] = markOf(dot.row);
  const rank = rankOf(dot.row) ? `, rank ${ranks(rankOf(dot.row))}` : "";
  const [x, y] = [readings[state.x], readings[state.y]];
  return (
    `${dot.row.name}: ${y.title} ${withHalf(dot.y, y)}, ${x.title} ${withHalf(dot.x, x)}` +
    ` (${meaning}${rank})`
  );
}

function dotElement(suite, dot, place, x, y, readings) {
  const { row } = dot;
  const isPinned = pinned(suite).includes(row.name);
  const classes = ["dot", row.claim ? "" : "control", isPinned ? "pinned" : ""];
  if (row.claim && row.claim.holds) classes.push("filled");
  const made = drawn(
    "g",
    {
      class: classes.filter(Boolean).join(" "),
      role: "button",
      tabindex: place ? -1 : 0,
      "aria-pressed": String(isPinned),
      "aria-label": sentenceOf(suite, dot, readings),
      "data-key": `dot ${row.name}`,
      onclick: () => togglePin(row.name),
      onkeydown: (event) => dotKey(event, row.name),
    },
    drawn("circle", { class: "hit", cx: x(dot.x[0]), cy: y(dot.y[0]), r: 11 }),
    cross(dot, x, y),
    shape(row, x(dot.x[0]), y(dot.y[0])),
  );
  for (const event of ["mouseenter", "focus"]) made.addEventListener(event, () => point(dot, made));
  for (const event of ["mouseleave", "blur"]) made.addEventListener(event, () => point(null, made));
  return made;

  function point(shown, on) {
    on.classList.toggle("shown", Boolean(shown));
    byId("readout").textContent = shown ? sentenceOf(suite, shown, readings) : readoutOf(suite);
    const name = byId("figure").querySelector(".pointed");
    if (name) name.remove();
    if (shown) byId("figure").firstChild.append(nameOf(shown, x, y, "label pointed"));
  }
}

// Arrow keys go from dot to dot, across; Enter and the space bar pin.
function dotKey(event, name) {
  const dots = [...byId("figure").querySelectorAll(".dot")];
  const place = dots.indexOf(event.currentTarget);
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const ends = { Home: 0, End: dots.length - 1 };
  let next = null;
  if (event.key in steps) next = dots[(place + steps[event.key] + dots.length) % dots.length];
  else if (event.key in ends) next = dots[ends[event.key]];
  else if (event.key === "Enter" || event.key === " ") togglePin(name);
  else return;
  event.preventDefault();
  if (!next) return;
  for (const dot of dots) dot.setAttribute("tabindex", dot === next ? 0 : -1);
  next.focus();
}

function nameOf(dot, x, y, classes) {
  const isRight = x(dot.x[0]) > (x(x.range[0]) + x(x.range[1])) / 2;
  const at = { x: x(dot.x[0]) + (isRight ? -11 : 11), y: y(dot.y[0]) - 9 };
  return drawn(
    "text",
    {
      class: classes,
      ...at,
      "font-size": 13,
      "text-anchor": isRight ? "end" : "start",
      "aria-hidden": "true",
    },
    dot.row.name,
  );
}

function readoutOf(suite) {
  const names = pinned(suite);
  return names.length
    ? `Pinned: ${names.join(", ")}.`
    : "No dot is pointed at, and none is pinned.";
}

function showFigure(suite) {
  const readings = readingsOf(suite);
  const dots = dotsOf(suite);
  byId("readout").textContent = readoutOf(suite);
  if (!dots.length) {
    byId("figure").replaceChildren(element("p", {}, "No row that is shown has both readings."));
    return;
  }
  const width = Math.max(280, Math.min(byId("figure").clientWidth, 960));
  const height = Math.round(Math.max(300, Math.min(width * 0.62, 560)));
  const x = scaleOf(rangeOf(dots.map((dot) => dot.x[0])), MARGIN.left, width - MARGIN.right);
  const y = scaleOf(rangeOf(dots.map((dot) => dot.y[0])), height - MARGIN.bottom, MARGIN.top);
  const names = pinned(suite);
  const [up, across] = [readings[state.y].long, readings[state.x].long];
  const label = `${up} against ${across}, ${count(dots.length, "entry", "entries")}`;
  byId("figure").replaceChildren(
    drawn(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label },
      frame(x, y, width, height, readings),
      dots.map((dot, place) => dotElement(suite, dot, place, x, y, readings)),
      dots.filter((dot) => names.includes(dot.row.name)).map((dot) => nameOf(dot, x, y, "label")),
    ),
  );
}
