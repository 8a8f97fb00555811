// ==== study
// The panel of one study: what it asks, its tests, its figure and its numbers, and what they cost.

const INK = 26; // the grey level of ink on the figures' white paper
const TEXT_PAGE = "README.md";

function showStudy() {
  const study = DATA.studies.find((one) => one.stem === state.study);
  if (!study) {
    hidePanel();
    return;
  }
  showPanel(
    study.title,
    [
      neighbours(study),
      study.question ? element("p", {}, study.question) : null,
      study.source.length
        ? element("p", { class: "muted" }, "Source: ", study.source.map(linked))
        : null,
      studyFacts(study),
      ...study.claims.map((claim) => testTable(study, claim)),
      study.claims.length ? null : unfinished(study),
      drawing(study),
      numberTable(study),
      deviations(study),
      citation(study.bibtex),
    ].filter(Boolean),
  );
}

function neighbours(study) {
  const place = DATA.studies.indexOf(study);
  const link = (other, words, key) =>
    other
      ? element(
          "li",
          {},
          element(
            "a",
            { href: hashOf({ study: other.stem }), "data-key": key },
            words(other.title),
          ),
        )
      : null;
  return element(
    "ul",
    { class: "links screen" },
    link(DATA.studies[place - 1], (title) => `← ${title}`, "previous study"),
    link(DATA.studies[place + 1], (title) => `${title} →`, "next study"),
    element(
      "li",
      {},
      element("a", { href: `${TEXT_PAGE}#study-${study.stem}` }, "this study as text"),
    ),
  );
}

function studyFacts(study) {
  const said = [["claim", study.claim || MISSING]];
  if (study.figure) said.push(["in the paper", study.figure]);
  said.push(["verdict", study.claims.length ? verdicts(study) : verdictSign(study.verdict)]);
  said.push(["scale", study.scale === "quick" ? "quick: smaller than the paper" : study.scale]);
  said.push(["cells", cellsSaid(study)]);
  said.push(["cost", costSaid(study)]);
  said.push(["environment", study.where.join("; ") || MISSING]);
  said.push(["command", element("code", {}, commandFor(study))]);
  return factList(said);
}

function verdicts(study) {
  return study.claims.map((claim, place) => [
    place ? "; " : "",
    claim.claim ? `${claim.claim}: ` : "",
    verdictSign(claim.verdict),
  ]);
}

function cellsSaid(study) {
  const said = [`${cellWords(study)} measured`, `${missing(study)} to go`];
  if (study.failed) said.push(`${study.failed} failed`);
  if (study.diverged) said.push(`${study.diverged} diverged`);
  return said.join(", ");
}

function costSaid(study) {
  if (!study.measured) return "nothing is measured yet";
  const each = study.seconds / (study.measured + study.failed);
  const said = [
    `${fixed(minutes(study), 1)} minutes of one worker`,
    `${significant(each)} seconds a cell`,
  ];
  if (missing(study))
    said.push(
      `about ${significant((each * missing(study)) / 60)} minutes to go if the rest cost as much`,
    );
  return said.join(", ");
}

function unfinished(study) {
  if (study.problem) return element("p", { class: "note" }, study.problem);
  return element(
    "div",
    {},
    element("h3", {}, "Not finished"),
    progressBar(study),
    element(
      "p",
      { class: "note" },
      `A study is tested once all of its cells are measured: ${missing(study)} are to go. `,
      element("code", {}, commandFor(study)),
      " trains only these.",
    ),
  );
}

function testTable(study, claim) {
  const lines = claim.tests.map((test) => [
    test.name,
    intervalPlot([test], claim.tests, PLOT, ""),
    verdictSign(test.verdict),
    valueWords(test),
    intervalWords(test),
    significant(test.threshold || 0),
    test.method,
  ]);
  const table = smallTable(
    claim.claim ? `Tests of “${claim.claim}”` : "Tests of the claim",
    ["test", "against | for", "verdict", "value", "95% interval", "above", "method"],
    lines,
    ["wide", "", "", "number", "number", "number", "wide"],
  );
  stacked(table.querySelector("table"));
  return element(
    "section",
    {},
    element("h3", {}, claim.claim || "Tests", ": ", verdictSign(claim.verdict)),
    table,
  );
}

function numberTable(study) {
  if (study.table.length < 2) return null;
  const [header, ...rows] = study.table;
  const filled = rows.map((row) => header.map((_, place) => row[place] || ""));
  const isNumber = (place) => filled.every((row) => /^$|^[+−-]?[\d.]|^—$/.test(row[place]));
  const kinds = header.map((_, place) => (place && isNumber(place) ? "number" : "name"));
  return element(
    "section",
    {},
    element("h3", {}, "In numbers"),
    smallTable(`${study.title}: its numbers`, header, filled, kinds),
  );
}

function deviations(study) {
  const said = study.left_out.map((reason) => `Left out: ${reason}`);
  if (study.scaled) said.unshift(`Scaled down: ${study.scaled}`);
  return element(
    "section",
    {},
    element("h3", {}, "Deviations from the paper, and notes"),
    said.length || study.notes.length
      ? element(
          "ul",
          {},
          [...said, ...study.notes].map((words) => element("li", {}, words)),
        )
      : element("p", {}, "None is stated."),
  );
}

// --- the figure, drawn again from data

function drawing(study) {
  if (!study.drawing) return null;
  const { size, styles, parts } = study.drawing;
  const [width, height] = size;
  const figure = drawn(
    "svg",
    {
      class: "drawing",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-labelledby": "caption",
      "stroke-linejoin": "round",
    },
    parts.map((part) => drawnPart(part, styles)),
  );
  figure.style.maxWidth = `${(width * 4) / 3}px`; // points
  return element(
    "section",
    {},
    element("h3", {}, "Figure"),
    element(
      "figure",
      {},
      element(
        "div",
        {
          class: "scroll",
          role: "region",
          "aria-label": "The figure, scrolls sideways",
          tabindex: "0",
        },
        figure,
      ),
      element("figcaption", { id: "caption" }, study.caption),
    ),
    element(
      "p",
      { class: "buttons" },
      element(
        "button",
        {
          type: "button",
          onclick: () => download(`membench-${study.stem}.svg`, "image/svg+xml", svgFile(figure)),
        },
        "Download figure (SVG)",
      ),
    ),
  );
}

function drawnPart(part, styles) {
  if (typeof part === "string") return part;
  const [tag, attributes, ...children] = part;
  if (tag === "image") return pixels(attributes, ...children);
  const { s, href, id, ...kept } = attributes;
  const style = s === undefined ? {} : styles[s];
  const made = drawn(
    tag,
    kept,
    children.map((child) => drawnPart(child, styles)),
  );
  for (const [name, value] of Object.entries(style)) made.setAttribute(name, colour(value));
  if (kept["clip-path"]) made.setAttribute("clip-path", named(kept["clip-path"]));
  if (href) made.setAttribute("href", `#drawing-${href}`);
  if (id) made.setAttribute("id", `drawing-${id}`);
  return made;
}

function named(value) {
  return value.replace("url(#", "url(#drawing-");
}

// The colour of a figure on this paper: greys go from ink to paper, others are paler in the dark.
// What begins with "=" is data, and stays.
function colour(value) {
  if (value.startsWith("=")) return value.slice(1);
  if (!/^#[0-9a-f]{6}$/.test(value)) return named(value);
  const levels = [1, 3, 5].map((place) => parseInt(value.slice(place, place + 2), 16));
  const [low, high] = [Math.min(...levels), Math.max(...levels)];
  if (high - low > 12) return `light-dark(${value}, color-mix(in srgb, ${value} 65%, white))`;
  const paper = Math.max(0, (low - INK) / (255 - INK));
  return `color-mix(in srgb, var(--paper) ${Math.round(100 * paper)}%, var(--ink))`;
}

// An image as rectangles: a path a colour, a rectangle a run of pixels.
function pixels(attributes, colours, rows) {
  const runs = colours.map(() => []);
  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  rows.forEach((row, y) => {
    for (let x = 0, end; x < row.length; x = end) {
      end = x + 1;
      while (row[end] === row[x]) end += 1;
      runs[LETTERS.indexOf(row[x])].push(`M${x},${y}h${end - x}v1h${x - end}z`);
    }
  });
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) =>
    Number(attributes[name] || 0),
  );
  const place = `translate(${x} ${y}) scale(${width / rows[0].length} ${height / rows.length})`;
  return drawn(
    "g",
    { transform: `${attributes.transform || ""} ${place}`, "shape-rendering": "crispEdges" },
    runs.map((all, index) => drawn("path", { fill: colours[index], d: all.join("") })),
  );
}
