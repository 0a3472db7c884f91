// The Hub as a person sees it, in Chromium: sign-in, a notebook that reads the lake, a bad token, a token's end and a new
// sign-in that heals the running kernel, KBase away, logout. tests/test_hub.py starts everything and then runs this.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, test as anyTest } from "node:test";
import { chromium } from "playwright-core";

const stack = JSON.parse(process.env.LAKEPASS_STACK);
const home = `${stack.bucket}/users-warehouse/alice`;
const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium-headless-shell";

const cells = {
  boto3: `import os, boto3
s3 = boto3.client("s3")
def genomes(client):
    return client.get_object(Bucket="${stack.bucket}", Key="users-warehouse/alice/genomes.csv")["Body"].read().decode()
print(os.getpid(), genomes(s3))`,
  share: `from lakepass import Lakepass
lake = Lakepass.from_env()
lake.share("s3a://${home}/run7/", with_group="KBase")`,
  spark: `from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
read = spark.read.csv("s3a://${home}/genomes.csv", header=True)
read.write.mode("overwrite").parquet("s3a://${home}/spark-wrote/")
print("rows", spark.read.parquet("s3a://${home}/spark-wrote/").count(), "provider",
      spark.conf.get("spark.hadoop.fs.s3a.aws.credentials.provider").split(".")[-1])`,
  secrets: `import json, subprocess
everything = json.dumps(dict(os.environ)) + json.dumps(spark.sparkContext.getConf().getAll())
everything += subprocess.run(["ps", "-eo", "args", "--user", str(os.getuid())], capture_output=True, text=True).stdout
with open("seen.json", "w") as seen:
    json.dump({"seen": everything, "names": sorted(os.environ), "api_token": os.environ["LAKEPASS_TOKEN"]}, seen)
print("looked")`,
  fresh: `try:
    print(os.getpid(), "fresh", genomes(boto3.Session().client("s3")))
except Exception as error:
    print(os.getpid(), "failed", error)`,
  old: `print(os.getpid(), "old", genomes(s3))`,
  done: `spark.stop(); print("stopped")`,
};
const order = Object.keys(cells);

let broken = false;

/** One step of a person's day: without the one before, the next says nothing. */
function test(name, work) {
  anyTest(name, async (t) => {
    if (broken) return t.skip("an earlier step failed");
    broken = true;
    await work();
    broken = false;
  });
}

let browser, context, page, token, apiToken, kernel;

before(async () => {
  const notebook = {
    cells: order.map((name) => ({ cell_type: "code", id: name, metadata: {}, outputs: [], execution_count: null, source: cells[name] })),
    metadata: { kernelspec: { name: "python3", display_name: "Python 3", language: "python" } },
    nbformat: 4,
    nbformat_minor: 5,
  };
  await writeFile(`${stack.alice_home}/lake.ipynb`, JSON.stringify(notebook));
  // Nothing but this machine is there, and nothing should try.
  const args = ["--no-sandbox", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"];
  browser = await chromium.launch({ executablePath: CHROMIUM, args });
  context = await newContext();
  page = await context.newPage();
});

after(() => browser?.close());

async function newContext() {
  const made = await browser.newContext({ viewport: { width: 1400, height: 2200 } });
  made.setDefaultTimeout(60_000);
  return made;
}

async function kbase(order) {
  const answer = await fetch(stack.kbase_control_url, { method: "POST", body: JSON.stringify(order) });
  return answer.json();
}

/** What a sign-in at KBase leaves in the browser: a new token in its cookie. */
async function signInAtKbase() {
  ({ token } = await kbase({ issue: "alice" }));
  await context.addCookies([{ name: "kbase_session", value: token, url: stack.hub_url, httpOnly: true }]);
}

const shot = (name) => page.screenshot({ path: `${process.env.SHOTS}/${name}.png` });

/** Runs a cell and waits for its output's text. */
async function run(name, limit = 60_000) {
  const cell = page.locator(".jp-Notebook .jp-Cell").nth(order.indexOf(name));
  const prompt = () => cell.locator(".jp-InputPrompt").textContent();
  const before = await prompt();
  // On a slow machine, JupyterLab can miss a key: it has not begun as long as the prompt is what it was.
  for (let tries = 0; (await prompt()) === before; tries++) {
    assert.ok(tries < 5, `the cell ${name} does not begin`);
    await cell.locator(".jp-InputPrompt").click();
    await page.keyboard.press("Control+Enter");
    await page.waitForTimeout(1000);
  }
  const end = Date.now() + limit;
  while (!/\[\d+\]/.test(await prompt())) {
    assert.ok(Date.now() < end, `the cell ${name} does not end`);
    await page.waitForTimeout(100);
  }
  return cell.locator(".jp-OutputArea").first().innerText();
}

async function atLogin(path) {
  await page.goto(stack.hub_url + path);
  await page.waitForSelector("#with-cookie");
}

test("a bad token is refused, with a word on why", async () => {
  await atLogin("/");
  await page.fill("#token", "NOTATOKEN");
  const [answer] = await Promise.all([page.waitForNavigation(), page.click("#with-token")]);
  assert.equal(answer.status(), 403);
  assert.match(await page.textContent("#login-error"), /KBase refuses this sign-in/);
  await shot("bad-token");
  assert.equal(await page.inputValue("#token"), "");
});

test("no cookie of KBase's: the page says where to go", async () => {
  await page.click("#with-cookie");
  await page.waitForSelector("#login-error");
  assert.match(await page.textContent("#login-error"), /not signed in to KBase/);
  assert.equal(await page.getAttribute("#kbase-login", "href"), "https://kbase.example.org/login");
});

test("signing in with KBase's cookie leads to a notebook", async () => {
  await signInAtKbase();
  await page.goto(`${stack.hub_url}/hub/login?next=${encodeURIComponent("/hub/spawn?next=/user/alice/lab/tree/lake.ipynb")}`);
  await page.click("#with-cookie");
  await page.waitForSelector("#jp-main-dock-panel", { timeout: 90_000 });
  if (!page.url().includes("lake.ipynb")) await page.goto(`${stack.hub_url}/user/alice/lab/tree/lake.ipynb`);
  await page.waitForSelector(".jp-Notebook .jp-Cell >> nth=6");
  await page.waitForSelector("text=/Python 3.*Idle/");
});

test("boto3 reads the lake", async () => {
  const said = await run("boto3");
  assert.match(said, /Escherichia coli/);
  kernel = said.match(/^\d+/)[0];
});

test("sharing is one line, and shows as a table", async () => {
  const said = await run("share");
  assert.match(said, /group KBase\s+done/);
  await shot("share");
});

test("Spark reads and writes the lake", async () => {
  assert.match(await run("spark", 120_000), /rows 2 provider IAMInstanceCredentialsProvider/);
});

test("no key is in sight, and no token of KBase's", async () => {
  assert.match(await run("secrets"), /looked/);
  // Read here, so that the token itself never gets into the notebook.
  const { seen, names, api_token } = JSON.parse(await readFile(`${stack.alice_home}/seen.json`));
  apiToken = api_token;
  assert.ok(!seen.includes(token));
  for (const name of ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "KBASE_AUTH_TOKEN"]) {
    assert.ok(!names.includes(name), name);
  }
  assert.ok(!/fs\.s3a\.(access|secret)\.key|session\.token/.test(seen));
  await shot("notebook");
});

test("when the token ends, the kernel is told what to do, and the browser is sent to sign in", async () => {
  await kbase({ expire: token });
  // The broker trusts a validation for a second here.
  await new Promise((done) => setTimeout(done, 1500));
  const said = await run("fresh");
  assert.match(said, /failed/);
  assert.match(said, /sign in to JupyterHub again/);
  // Keys that are out stay good for as long as they were made for.
  assert.match(await run("old"), /Escherichia coli/);
  await shot("token-ended");
  const other = await context.newPage();
  await other.goto(`${stack.hub_url}/hub/home`);
  await other.waitForSelector("#with-cookie");
  await other.close();
});

test("a new sign-in heals the kernel that runs", async () => {
  ({ token } = await kbase({ issue: "alice" }));
  const other = await context.newPage();
  await other.goto(`${stack.hub_url}/hub/home`);
  await other.fill("#token", token);
  await other.click("#with-token");
  await other.waitForSelector("#start");
  await other.close();
  const said = await run("fresh");
  assert.match(said, /fresh.*Escherichia coli/s);
  assert.equal(said.match(/^\d+/)[0], kernel, "it is the same process");
});

test("KBase away is no logout", async () => {
  await kbase({ away: true });
  try {
    await new Promise((done) => setTimeout(done, 1500));
    const other = await context.newPage();
    await other.goto(`${stack.hub_url}/hub/home`);
    await other.waitForSelector("#start");
    await other.close();
    assert.match(await run("old"), /Escherichia coli/);
    // Somebody new cannot come in, and reads that it is not their fault.
    const stranger = await newContext();
    const door = await stranger.newPage();
    await door.goto(stack.hub_url);
    await door.fill("#token", "ANYTOKEN");
    const [answer] = await Promise.all([door.waitForNavigation(), door.click("#with-token")]);
    assert.equal(answer.status(), 503);
    assert.match(await door.textContent("#login-error"), /does not answer now/);
    await stranger.close();
  } finally {
    await kbase({ away: false });
  }
  assert.match(await run("fresh"), /fresh.*Escherichia coli/s);
  assert.match(await run("done"), /stopped/);
});

test("after signing out, nothing is open any more", async () => {
  const ask = () => fetch(`${stack.hub_api_url}/lakepass/aws/container-credentials`, { headers: { authorization: `Bearer ${apiToken}` } });
  assert.equal((await ask()).status, 200);
  await page.goto(`${stack.hub_url}/hub/home`);
  await page.click("#logout");
  await page.waitForSelector("#with-cookie");
  await atLogin("/hub/home");
  await atLogin("/user/alice/lab");
  assert.equal((await ask()).status, 401);
});
