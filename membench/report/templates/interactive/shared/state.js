// ==== state
// The view, which is wholly in the address behind "#": a view is a link. Each page says what views
// there are: DEFAULTS, LISTS, and PANEL, the name of what opens a panel.

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
  if (changes[PANEL]) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  state = stateOf(hash);
  show();
}
