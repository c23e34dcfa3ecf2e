/**
 * `ibsr export s3` when things go wrong: a proxy that fails requests in every way, and exporters killed at every step.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { testWith, whatIsMissing } from "../needs.ts";
import { type Fault, FaultyProxy, type RequestKind } from "./proxy.ts";
import {
  bytesOf,
  Folder,
  fromTo,
  killing,
  runExport,
  S3Server,
  segmentName,
  segmentText,
  startExport,
} from "./server.ts";

let server: S3Server;
Deno.test.beforeAll(async () => {
  if (whatIsMissing("s3") === undefined) server = await S3Server.start("radosgw");
});
Deno.test.afterAll(async () => await server?.[Symbol.asyncDispose]());

/** 17 MB, which make three parts. */
const BIG = bytesOf(17_000_000, 7);

function openProxy(): FaultyProxy {
  return new FaultyProxy({ hostname: "127.0.0.1", port: Number(new URL(server.endpoint).port) });
}

function argsFor(folder: Folder, bucket: string, endpoint: string, ...more: string[]): string[] {
  return [...fromTo(folder, { bucket, endpoint }), "--prefix", "p", ...more];
}

/** The bucket has every segment of the folder, byte for byte, and nothing else; the ledger says so too. */
async function assertExported(folder: Folder, bucket: string): Promise<void> {
  const stored = await server.download(bucket);
  const names = [...Deno.readDirSync(folder.path)].map(({ name }) => name).filter((name) => name !== "export.jsonl")
    .sort();
  assert.deepEqual([...stored.keys()].sort(), names.map((name) => `p/${name}`));
  for (const name of names) {
    const bytes = await Deno.readFile(`${folder.path}/${name}`);
    assert.ok(Buffer.compare(bytes, stored.get(`p/${name}`)!) === 0, name);
  }
  const ledger = await folder.ledger(),
    known = ledger.filter(({ event }) => event === "stored").map(({ path }) => path);
  assert.deepEqual(known.sort(), names, "the ledger has each once");
  assert.deepEqual(await server.listUnfinished(bucket), []);
}

const KINDS: RequestKind[] = ["put", "create", "part", "complete"];
const FAULTS: Record<string, Fault> = {
  "reset before the request": { do: "reset-request", at: 0 },
  "reset in the request's head": { do: "reset-request", at: 100 },
  "reset in its body": { do: "reset-request", at: 1200 },
  "answer lost": { do: "lose-answer" },
  "reset in the answer": { do: "reset-answer", at: 40 },
  "stall": { do: "stall" },
  "503 SlowDown": { do: "status", status: 503, body: "<Error><Code>SlowDown</Code></Error>" },
  "500 with nothing": { do: "status", status: 500 },
  "429 with Retry-After": { do: "status", status: 429, headers: "Retry-After: 1\r\n" },
  "wrong ETag": { do: "wrong-etag" },
  "slow": { do: "slow", ms: 300 },
};

for (const [name, fault] of Object.entries(FAULTS)) {
  testWith("s3", `ibsr export s3 gets over a fault once with every kind of request: ${name}`, async () => {
    const bucket = await server.makeBucket(`fault-${Object.keys(FAULTS).indexOf(name)}`);
    await using folder = await Folder.create({ [segmentName(1)]: segmentText(1), [`${segmentName(2)}.zst`]: BIG });
    await using proxy = openProxy();
    const hit = new Set<RequestKind>();
    proxy.judge = (kind) => {
      if (!KINDS.includes(kind) || hit.has(kind)) return undefined;
      hit.add(kind);
      // A part has its own 64 s on top.
      return fault?.do === "stall" && kind === "part" ? undefined : fault;
    };
    const start = performance.now();
    const done = await runExport(argsFor(folder, bucket, proxy.endpoint, "--timeout-sec", "1"), { keys: server });
    assert.equal(done.code, 0, done.stderr);
    assert.deepEqual([...hit].sort(), [...KINDS].sort());
    await assertExported(folder, bucket);
    if (name.includes("Retry-After")) assert.ok(performance.now() - start >= 3000, "each kind waits a second");
  });
}

testWith("s3", "ibsr export s3 gives up on a server that can't be reached, and not again for each file", async () => {
  const files = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [segmentName(n), segmentText(n)]));
  await using folder = await Folder.create(files);
  using unused = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoint = `http://127.0.0.1:${unused.addr.port}`;
  unused.close();
  const { code, stderr, stdout } = await runExport(argsFor(folder, "nobody", endpoint, "--max-retries", "2"), {
    keys: server,
  });
  assert.equal(code, 69);
  assert.match(stderr, /Cannot reach 127\.0\.0\.1:\d+: .*refused \(3 attempts\)\n.*hint: /);
  assert.match(stdout, /; 4 failed; 46 not tried/);
});

testWith("s3", "ibsr export s3 tries nothing again that can't change: 403, 404, 400", async () => {
  await using folder = await Folder.create({ [segmentName(1)]: segmentText(1) });
  for (
    const [status, code, exit] of [[403, "AccessDenied", 77], [404, "NoSuchBucket", 69], [400, "InvalidRequest", 69]]
  ) {
    await using proxy = openProxy();
    proxy.judge = () => ({ do: "status", status: status as number, body: `<Error><Code>${code}</Code></Error>` });
    const done = await runExport(argsFor(folder, "none", proxy.endpoint), { keys: server });
    assert.equal(done.code, exit, done.stderr);
    assert.ok(done.stderr.includes(`Cannot upload ${segmentName(1)}: ${status} ${code}`), done.stderr);
    assert.equal(proxy.heads.length, 1);
  }
});

/** At which request, and whether the server has carried it out by then. */
const STEPS: [kind: RequestKind, number: number, when: "before" | "after"][] = [
  ["put", 1, "before"],
  ["put", 1, "after"],
  ["create", 1, "before"],
  ["create", 1, "after"],
  ["part", 1, "after"],
  ["part", 2, "before"],
  ["part", 3, "after"],
  ["complete", 1, "before"],
  ["complete", 1, "after"],
];

for (const [kind, number, when] of STEPS) {
  testWith(
    "s3",
    `ibsr export s3, killed ${when} ${kind} ${number} is carried out, goes on and leaves nothing behind`,
    async () => {
      const bucket = await server.makeBucket(`kill-${kind}-${number}-${when}`);
      await using folder = await Folder.create({ [segmentName(1)]: segmentText(1), [`${segmentName(2)}.zst`]: BIG });
      await using proxy = openProxy();
      const exporter = startExport(argsFor(folder, bucket, proxy.endpoint, "--concurrency", "1"), { keys: server });
      using _ = killing(exporter);
      const kill = async (k: RequestKind, n: number) => {
        if (k !== kind || n !== number) return;
        exporter.kill("SIGKILL");
        await exporter.status;
      };
      if (when === "after") proxy.answered = kill;
      else {
        proxy.judge = async (k, n) => {
          await kill(k, n);
          return k === kind && n === number ? { do: "reset-request", at: 0 } : undefined;
        };
      }
      const { signal } = await exporter.output();
      assert.equal(signal, "SIGKILL");
      proxy.judge = () => undefined;
      proxy.answered = () => {};
      const partsBefore = (await folder.ledger()).filter(({ event }) => event === "part").length;
      const before = proxy.seen.part ?? 0;
      const done = await runExport(argsFor(folder, bucket, proxy.endpoint), { keys: server });
      assert.equal(done.code, 0, done.stderr);
      await assertExported(folder, bucket);
      if (kind === "part" && number > 1) {
        assert.equal(proxy.seen.part! - before, 3 - partsBefore, "parts that are stored are not sent again");
      }
    },
  );
}

testWith("s3", "ibsr export s3 aborts the unfinished upload of a file that is gone", async () => {
  const bucket = await server.makeBucket("gone");
  await using folder = await Folder.create({ [`${segmentName(2)}.zst`]: BIG });
  await using proxy = openProxy();
  proxy.judge = (kind) => kind === "complete" ? { do: "status", status: 503 } : undefined;
  const first = await runExport(argsFor(folder, bucket, proxy.endpoint, "--max-retries", "0"), { keys: server });
  assert.equal(first.code, 69);
  assert.equal((await server.listUnfinished(bucket)).length, 1);
  proxy.judge = () => undefined;
  await Deno.remove(`${folder.path}/${segmentName(2)}.zst`);
  assert.equal((await runExport(argsFor(folder, bucket, proxy.endpoint), { keys: server })).code, 0);
  assert.deepEqual(await server.listUnfinished(bucket), []);
  assert.deepEqual((await server.download(bucket)).size, 0);
});

testWith(
  "s3",
  "ibsr export s3, of 500 segments with three kills and every fifth request failing, stores each once",
  async () => {
    const bucket = await server.makeBucket("many"), total = 500;
    const files = Object.fromEntries(
      Array.from({ length: total }, (_, n) => [segmentName(n), segmentText(n, 1 + n % 40)]),
    );
    await using folder = await Folder.create({ ...files, [`${segmentName(900)}.zst`]: BIG });
    await using proxy = openProxy();
    let x = 12345;
    const random = () => (x = (x * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
    const faults = ["reset in its body", "answer lost", "reset in the answer", "503 SlowDown"].map((name) =>
      FAULTS[name]
    );
    proxy.judge = () => random() < 0.2 ? faults[Math.floor(random() * faults.length)] : undefined;
    const args = argsFor(folder, bucket, proxy.endpoint, "--concurrency", "8");
    for (const at of [100, 250, 400]) {
      const exporter = startExport(args, { keys: server });
      using _ = killing(exporter);
      proxy.answered = (kind) => {
        if (kind === "put" && proxy.seen.put! >= at) exporter.kill("SIGKILL");
      };
      assert.equal((await exporter.output()).signal, "SIGKILL");
    }
    proxy.answered = () => {};
    const done = await runExport(args, { keys: server });
    assert.equal(done.code, 0, done.stderr);
    await assertExported(folder, bucket);
    const requests = Object.values(proxy.seen).reduce((a, b) => a + b, 0);
    console.log(`${total + 1} objects by ${requests} requests; ${done.stdout.trim()}`);
    const versions = (await folder.ledger()).filter(({ event }) => event === "stored");
    assert.equal(new Set(versions.map(({ key }) => key)).size, total + 1);
  },
);
