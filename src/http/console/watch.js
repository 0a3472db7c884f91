// Leads out of MinIO's console when its session is over: after a click that finds it so, and otherwise within seconds.
(() => {
  const check = async () => {
    const answer = await fetch("/minio-ui/api/v1/session", { cache: "no-store" }).catch(() => undefined);
    if (answer?.status === 401) location.replace("/console");
  };
  let last = 0;
  const soon = () => {
    if (Date.now() - last < 1000) return;
    last = Date.now();
    setTimeout(check, 300);
  };
  addEventListener("click", soon, true);
  document.addEventListener("visibilitychange", soon);
  setInterval(check, 10_000);
})();
