// The view, which is wholly in the address behind "#": a view is a link.

const MOST_PINNED = 4;
const DEFAULTS = {
  suite: "",
  list: "H",
  sort: "",
  q: "",
  group: "",
  task: "",
  env: "",
  claim: "",
  less: "",
  stop: "",
  others: "1",
  columns: "",
  x: "dA",
  y: "H",
  pins: "",
  entry: "",
};
let state = { ...DEFAULTS };

function stateOf(hash) {
  const found = { ...DEFAULTS };
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (name in DEFAULTS) found[name] = value;
  }
  if (!(found.list in LISTS)) found.list = DEFAULTS.list;
  return found;
}

// The address of this view with changes; what is as it is by default is left out.
function hashOf(changes) {
  const wanted = { ...state, ...changes };
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) {
    if (value !== DEFAULTS[name]) parts.set(name, value);
  }
  return `#${parts}`;
}

// Change the view. Only what opens a panel is a step back for the browser.
function change(changes) {
  const hash = hashOf(changes);
  if (changes.entry) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  state = stateOf(hash);
  show();
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
