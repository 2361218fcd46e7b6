// Keys of the labelling queue: a digit presses the label's button, s skips. Everything works without this too.
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const form = document.querySelector("form[data-keys]");
  const wanted = form && [...form.querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key);
  if (wanted) {
    event.preventDefault();
    wanted.click();
  }
});
