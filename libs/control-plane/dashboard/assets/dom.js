// Making and changing elements. Nothing here, or anywhere in the page, turns text into markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Properties that begin with "on" are listeners; null, undefined and false leave an attribute out. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for drawings. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else attribute(element, name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Sets an attribute if it is not so already: what does not change costs no layout. */
export function attribute(element, name, value) {
  if (value == null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets the text of an element that holds nothing else, if it is not so already. */
export function text(element, value) {
  const wanted = value == null ? "" : String(value);
  const only = element.firstChild;
  if (only === null) {
    if (wanted !== "") element.append(wanted);
  } else if (only.data !== wanted || only.nextSibling !== null) {
    element.textContent = wanted;
  }
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/**
 * Makes the children of `parent` those of `items`, in their order. What stays is kept and updated, so focus,
 * selection and scrolling are as well. `make(item)` gives `{ element, update(item) }`.
 */
export function keyed(parent, items, key, make) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    if (wanted.has(id)) continue;
    wanted.add(id);
    let part = known.get(id);
    if (!part) known.set(id, (part = make(item)));
    part.update?.(item);
    if (part.element === place) place = place.nextElementSibling;
    else parent.insertBefore(part.element, place);
  }
  for (const [id, part] of known) {
    if (wanted.has(id)) continue;
    part.element.remove();
    known.delete(id);
  }
}

/** Says something to those who do not see the page. */
export function announce(message) {
  text(document.getElementById("announce"), message);
}
