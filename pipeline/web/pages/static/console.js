// Says how old the page has become; and, if asked to, reads what lives again. Nothing on a page needs it.
(() => {
  "use strict";
  const loaded = performance.now();
  const place = document.querySelector(".age");
  const age = document.getElementById("age");
  const words = (s) => (s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`);
  let behind = place ? Number(place.dataset.behind) : 0;
  let since = loaded;
  const tell = () => {
    const seconds = (behind + performance.now() - since) / 1000;
    age.textContent = seconds < 10 ? "" : `, ${words(seconds)} ago`;
    document.body.classList.toggle("old", seconds > 300);
  };
  if (age) setInterval(tell, 5000);

  for (const form of document.querySelectorAll('form[method="post"]')) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  window.addEventListener("pageshow", () => {
    for (const form of document.forms) delete form.dataset.sent;
  });

  const living = [...document.querySelectorAll("[data-live][id]")];
  if (!living.length || !place) return;
  const follow = document.createElement("button");
  follow.type = "button";
  follow.textContent = "Follow";
  follow.className = "follow";
  place.append(" ", follow);
  let every = Math.min(...living.map((each) => Number(each.dataset.live) || 15));
  let on = living.some((each) => each.dataset.live);
  const show = () => follow.setAttribute("aria-pressed", String(on));
  follow.addEventListener("click", () => { on = !on; show(); });
  show();

  const busy = (region) => region.contains(document.activeElement) || !getSelection().isCollapsed;
  const renew = async () => {
    if (!on || document.hidden) return;
    const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const region of living) {
      const found = fresh.getElementById(region.id);
      if (!found || busy(region)) continue;
      const opened = [...region.querySelectorAll("details")].map((each) => each.open);
      if (found.innerHTML !== region.innerHTML) region.replaceChildren(...found.childNodes);
      region.className = found.className;
      region.querySelectorAll("details").forEach((each, at) => { each.open = opened[at] || false; });
      if (!found.hasAttribute("data-live")) { on = false; show(); }
    }
    const told = fresh.querySelector(".age time");
    if (told) place.querySelector("time").replaceWith(told);
    behind = Number(fresh.querySelector(".age")?.dataset.behind) || 0;
    since = performance.now();
    tell();
  };
  setInterval(() => renew().catch(() => {}), every * 1000);
})();
