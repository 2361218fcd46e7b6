// Keys of the labelling queue: a digit presses the label's button, c goes to the correction, s skips, and Ctrl+Enter sends
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
  const wanted = [...form.querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key);
  if (wanted) {
    event.preventDefault();
    wanted.focus();
    wanted.click();
  }
});
