// What the issue asks to be shown, in the order in which a user would do it.
import assert from "node:assert/strict";
import { readFile, writeFile, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const ready = JSON.parse(await readFile(process.env.LAKEPASS_READY, "utf8"));
const folder = await mkdtemp(join(tmpdir(), "lakepass-console-"));
const page_of = (path) => `${ready.url}/minio-ui/browser/${ready.bucket}/${encodeURIComponent(path)}`;

let browser, context, page;
const addresses = [];

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    // Nobody but this machine is asked for anything.
    args: ["--no-sandbox", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"],
  });
  context = await browser.newContext({ acceptDownloads: true });
  page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("request", (request) => addresses.push(request.url()));
});

after(async () => {
  await browser?.close();
});

/** Calls the broker as one of the demo's people, without the browser. */
const call = async (who, method, path, body) => {
  const headers = { authorization: ready.tokens[who] };
  const answer = await fetch(ready.url + path, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.status === 204 ? undefined : answer.json();
};

const objects = () => page.locator("#object-list-wrapper");
const entry = (name) => objects().getByText(name, { exact: true }).last();
const open = (name) => entry(name).click();
const shows = async (...names) => {
  for (const name of names) await entry(name).waitFor();
};

const sign_in = async (who) => {
  await page.goto(ready.sign_in_url);
  await page.fill("#token", ready.tokens[who]);
  await page.getByRole("button", { name: "Open the console" }).click();
};

const upload = async (name, text) => {
  const file = join(folder, name);
  await writeFile(file, text);
  const answer = page.waitForResponse((response) => response.url().includes("/objects/upload"));
  await page.locator("input[type=file]").first().setInputFiles(file);
  return (await answer).status();
};

test("one click leads into one's home", async () => {
  await sign_in("alice");
  // MinIO's word on its licence, once a browser.
  await page.locator("#acknowledge-confirm").click();
  await shows("genomes.csv");
  assert.equal(page.url(), page_of("users-warehouse/alice/"));
  const [cookie, ...others] = await context.cookies(page.url());
  assert.deepEqual(others, []);
  assert.deepEqual(
    [cookie.name, cookie.path, cookie.httpOnly, cookie.sameSite],
    ["token", "/minio-ui/", true, "Strict"],
  );
  const life = cookie.expires - Date.now() / 1000;
  assert.ok(life > 3500 && life <= 3601, `as long as the keys: ${life} s`);
});

test("from the top, one sees one's own and no name besides", async () => {
  await call("bob", "POST", "/users/bob/share", { path: "users-warehouse/bob/run7", with_users: ["alice"], access: "write" });
  await page.goto(`${ready.url}/minio-ui/browser/${ready.bucket}`);
  await shows("groups-warehouse", "users-warehouse");
  assert.equal(await page.locator("[id^=manageBucket-]").count(), 1, "one bucket, and not the ledger's");
  await open("users-warehouse");
  await shows("alice", "bob");
  const text = await page.locator("body").innerText();
  for (const name of ["carol", "dana", "BER", ready.ledger_bucket + "\n"]) assert.ok(!text.includes(name), name);
});

test("a shared prefix is browsed, and written to as it was shared", async () => {
  await open("bob");
  await shows("run7");
  assert.ok(!(await objects().innerText()).includes("genomes.csv"), "what is not shared is not seen");
  await open("run7");
  await page.waitForURL(page_of("users-warehouse/bob/run7/"));
  assert.equal(await upload("for-bob.txt", "from alice"), 200);
  await shows("for-bob.txt");
});

test("a group's workspace is browsed", async () => {
  await page.goto(`${ready.url}/minio-ui/browser/${ready.bucket}`);
  await open("groups-warehouse");
  await shows("KBase");
  assert.ok(!(await objects().innerText()).includes("BER"));
  await open("KBase");
  await shows("samples.csv");
});

test("a file goes up and comes down", async () => {
  await page.goto(page_of("users-warehouse/alice/"));
  await shows("genomes.csv");
  // Larger than the broker takes for itself.
  const text = "genome,length\n" + "GCF_000005845.2,4641652\n".repeat(100_000);
  assert.equal(await upload("table.csv", text), 200);
  await shows("table.csv");
  await page.locator("#object-manager-toggle").click();
  await open("table.csv");
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download", exact: true }).click();
  assert.equal(await readFile(await (await download).path(), "utf8"), text);
});

test("another's prefix is refused", async () => {
  await page.goto(page_of("users-warehouse/carol/"));
  await page.getByText("Access Denied.").first().waitFor();
  assert.ok(!(await objects().innerText()).includes("genomes.csv"));
  const answers = await page.evaluate(async (bucket) => {
    const at = (path) => fetch(`/minio-ui/api/v1/buckets/${bucket}/objects${path}`).then((answer) => answer.status);
    const key = encodeURIComponent("users-warehouse/carol/genomes.csv");
    return [await at(`?prefix=${encodeURIComponent("users-warehouse/carol/")}`), await at(`/download?prefix=${key}&override_file_name=`)];
  }, ready.bucket);
  assert.equal(answers[0], 403);
  assert.ok(answers[1] >= 400, `${answers[1]}`);
});

test("another site gets nothing out of the browser", async () => {
  // Another origin, for which the browser has the same cookies: another port.
  const elsewhere = await context.newPage();
  await elsewhere.goto(`${ready.auth_url}/`);
  const answers = await elsewhere.evaluate(
    async ({ url, token }) => {
      const ask = (path, options) => fetch(url + path, { mode: "no-cors", credentials: "include", ...options });
      await ask("/console-login", { method: "POST", body: new URLSearchParams({ token }) }).catch(() => {});
      const readable = await fetch(`${url}/minio-ui/api/v1/session`, { credentials: "include" }).then(
        () => true,
        () => false,
      );
      const socket = new WebSocket(`${url.replace("http", "ws")}/minio-ui/ws/objectManager`);
      const opened = await new Promise((resolve) => {
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      });
      return { readable, opened };
    },
    { url: ready.url, token: ready.tokens.bob },
  );
  assert.deepEqual(answers, { readable: false, opened: false });
  await elsewhere.close();
  // Still alice's: nobody signed her in as bob.
  await page.goto(page_of("users-warehouse/alice/"));
  await shows("genomes.csv");
});

test("a link elsewhere leads into the session that there is", async () => {
  const elsewhere = await context.newPage();
  await elsewhere.goto(`${ready.auth_url}/`);
  await elsewhere.evaluate((address) => (location.href = address), page_of("users-warehouse/alice/"));
  await elsewhere.getByText("genomes.csv").first().waitFor();
  await elsewhere.close();
});

test("a revocation leads out", async () => {
  await page.goto(page_of("users-warehouse/alice/"));
  await shows("genomes.csv");
  await call("alice", "DELETE", "/sessions");
  await page.locator("#refresh-objects-list").click();
  await page.waitForURL(ready.sign_in_url);
  assert.deepEqual(await context.cookies(page_of("")), []);
  await page.goto(page_of("users-warehouse/alice/"));
  assert.equal(page.url(), ready.sign_in_url);
});

test("who does nothing is led out as well, and one may sign out", async () => {
  await sign_in("alice");
  await shows("genomes.csv");
  await call("dana", "DELETE", "/admin/users/alice/sessions");
  await page.waitForURL(ready.sign_in_url);
  await sign_in("alice");
  await shows("genomes.csv");
  await page.locator("#sign-out").click();
  await page.waitForURL(ready.sign_in_url);
  assert.deepEqual(await context.cookies(page_of("")), []);
});

test("a bad token is told so, and no secret is in any address or in the log", async () => {
  await page.goto(ready.sign_in_url);
  await page.fill("#token", "NONSENSE");
  await page.getByRole("button", { name: "Open the console" }).click();
  await page.getByRole("alert").waitFor();
  const log = await readFile(process.env.LAKEPASS_LOG, "utf8");
  assert.ok(log.includes("open console"));
  for (const token of [...Object.values(ready.tokens), "NONSENSE"]) {
    assert.ok(!log.includes(token) && !addresses.some((address) => address.includes(token)));
  }
  assert.ok(!addresses.some((address) => /[?&](sts|sts_a|sts_s|token)=/.test(address)));
});
