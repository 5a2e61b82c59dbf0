/** Make elements. Every word of a user or a model comes in as a string and so becomes a text node, never markup. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** Set a number for the style sheet. (A style attribute in markup would be refused by the content security policy.) */
export const setNumber = (made, name, value) => made.style.setProperty(name, String(value));
