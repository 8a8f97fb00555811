// ==== svg
// Scales of axes, and a figure as a file of its own.

// Round numbers that cover a range, at most about `most` of them.
function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high + 1e-9; place += 1) {
    found.push(Number((place * step).toPrecision(12)));
  }
  return found;
}

// The range of the estimates, with room at both ends; intervals may reach over it.
function rangeOf(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || 1) * 0.06;
  return [low - room, high + room];
}

function scaleOf([low, high], from, to) {
  const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
  scale.within = (value) => scale(Math.min(Math.max(value, low), high));
  scale.range = [low, high];
  return scale;
}

// A figure as a file of its own, with the colours that it has now.
function svgFile(figure) {
  const copy = figure.cloneNode(true);
  copy.removeAttribute("style");
  const originals = figure.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((part, place) => {
    const style = getComputedStyle(originals[place]);
    for (const name of [
      "fill",
      "stroke",
      "stroke-width",
      "stroke-dasharray",
      "opacity",
      "font-weight",
      "paint-order",
    ]) {
      part.setAttribute(name, style.getPropertyValue(name));
    }
    for (const name of ["class", "tabindex", "role", "data-key", "aria-pressed"])
      part.removeAttribute(name);
  });
  const paper = getComputedStyle(document.body).backgroundColor;
  copy.prepend(drawn("rect", { width: "100%", height: "100%", fill: paper }));
  copy.setAttribute("font-family", "sans-serif");
  return new XMLSerializer().serializeToString(copy);
}
