// Elements, made from a name, properties and children; and what every part needs of the page.

export const $ = id => document.getElementById(id);

// el("button.main", {onclick}, "Run"): classes behind the name; properties, of which those with a dash or `role` are attributes.
export function el(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

// For who hears the page and does not see it.
export function tell(text) {
  $("told").textContent = text;
}

export function save(name, content, type = "text/plain;charset=utf-8") {
  const link = el("a", { href: URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export const stem = name => name.replace(/\.[^.]*$/, "");

export function clock(seconds) {
  const whole = Math.max(0, seconds);
  return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(1).padStart(4, "0")}`;
}
