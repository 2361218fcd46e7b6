// Keys of the labelling queue: a digit presses the label's button, c goes to the correction, s skips, u takes the last label back, and Ctrl+Enter sends
// what was written. Everything works without this too.
document.addEventListener("keydown", (event) => {
  const form = document.querySelector("form[data-keys]");
  if (!form || event.repeat || event.altKey) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form === form) {
    event.preventDefault();
    form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const wanted = [...document.querySelectorAll("main [data-key]")].find((each) => each.dataset.key === event.key);
  if (wanted) {
    event.preventDefault();
    wanted.focus();
    wanted.click();
  }
});

// The local time and the age of each time, and a button that copies each command and each long id. Without a script they
// are UTC, and text that can be selected.
const AGES = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const age = (date) => {
  const seconds = (date - Date.now()) / 1000;
  const [unit, size] = AGES.find((each) => Math.abs(seconds) >= each[1]) || AGES[3];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(seconds / size), unit);
};
const dress = (root) => {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const date = new Date(time.dateTime);
    time.title = `${date.toLocaleString()} in your time zone, ${age(date)}`;
    if (time.closest("dl.facts")) time.after(` (${age(date)})`);
  }
  if (!navigator.clipboard) return;
  for (const code of root.querySelectorAll("code.command, dl.facts dd > code")) {
    if (code.nextElementSibling?.className === "copy quiet" || code.textContent.length < 12) continue;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy quiet", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy ${code.textContent}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    });
    code.after(button);
  }
};
document.addEventListener("DOMContentLoaded", () => dress(document));
document.addEventListener("htmx:afterSettle", (event) => dress(event.target));
