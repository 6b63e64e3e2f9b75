// Runs in a page that holds the report in frames of several widths; writes what it measures into the document.
const transparent = "rgba(0, 0, 0, 0)";

function hidden(element) { // for screen readers only
  return element.closest("caption, i, symbol, title") !== null || element.checkVisibility?.() === false;
}

function luminance(colour) {
  const [r, g, b] = colour.match(/[\d.]+/g).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function ground(element, view) {
  for (let at = element; at; at = at.parentElement) {
    const colour = view.getComputedStyle(at).backgroundColor;
    if (colour !== transparent) return colour;
  }
  return "rgb(255, 255, 255)";
}

function texts(view) {
  const found = [];
  for (const element of view.document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || hidden(element)) continue;
    const style = view.getComputedStyle(element);
    const [dark, light] = [luminance(style.color), luminance(ground(element, view))].sort((a, b) => a - b);
    found.push({
      text: element.textContent.trim().slice(0, 40), size: parseFloat(style.fontSize),
      contrast: (light + 0.05) / (dark + 0.05),
    });
  }
  return found;
}

function sticking(view) { // what reaches over the right edge
  return [...view.document.body.querySelectorAll("*")]
    .filter((element) => !hidden(element) && element.getBoundingClientRect().right > view.innerWidth + 0.5)
    .map((element) => `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`);
}

function overlapping(view) { // labels of the history's axis
  const boxes = [...view.document.querySelectorAll(".axis span")].map((each) => each.getBoundingClientRect());
  return boxes.filter((box, at) => at && box.left < boxes[at - 1].right).length;
}

function measure(frame) {
  const view = frame.contentWindow, page = view.document;
  const measured = {
    name: frame.name, width: view.innerWidth, scheme: view.getComputedStyle(page.body).backgroundColor,
    hosts: [...page.querySelectorAll(".grid tbody th")].map((head) => head.textContent),
    folded: [...page.querySelectorAll(".well .grid tbody th")].length,
    marks: [...page.querySelectorAll(".grid tbody td:not(.what) .mark, .legend .mark")].filter((each) => each.checkVisibility())
      .map((each) => each.getBoundingClientRect()).filter((box) => box.width < 10 || box.height < 10).length,
    images: page.images.length, scripts: page.scripts.length,
    resources: view.performance.getEntriesByType("resource").map((entry) => entry.name),
    scroll: page.documentElement.scrollWidth,
  };
  for (const details of page.querySelectorAll("details")) details.open = true;
  const all = texts(view);
  return {
    ...measured,
    opened: page.documentElement.scrollWidth, sticking: sticking(view).slice(0, 5), overlapping: overlapping(view),
    faint: all.filter((each) => each.contrast < 4.5).slice(0, 5), small: all.filter((each) => each.size < 10.5).slice(0, 5),
    texts: all.length,
  };
}

window.addEventListener("load", () => {
  const result = document.createElement("pre");
  result.id = "measured";
  result.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
  document.body.append(result);
});
