/** The embedded engine, and what both engines share. */
import assert from "node:assert/strict";
import { listLibraryPaths, openEmbeddedEngine } from "../../src/fleet/chdb.ts";
import { encodeParameter, engineError, parseFailure, type QueryEngine } from "../../src/fleet/engine.ts";
import { CHDB, testWith } from "../needs.ts";
import { thrown } from "../thrown.ts";

/** Texts that would be something else in a statement, a pattern or an address. */
const HOSTILE = [
  "it's",
  "') UNION ALL SELECT 1 --",
  "\\",
  "\\'; DROP TABLE t; --",
  "a\tb\nc\rd\0e",
  "\\N",
  "{x:String}",
  "*?[]{a,b}**",
  "%27%2e%2e/../..",
  "é😀\u2028",
  "",
];

function open(options: { maxMemoryBytes?: number } = {}) {
  return openEmbeddedEngine({ paths: [CHDB], maxMemoryBytes: 1e9, threads: 2, ...options });
}

/** A statement that runs for a long time, in little memory. */
const LONG = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 7";

function countTempFolders(): number {
  return [...Deno.readDirSync(Deno.env.get("TMPDIR") ?? "/tmp")].filter((e) => e.name.startsWith("ibsr-fleet-")).length;
}

testWith("chdb", "the embedded engine runs statements", async (t) => {
  const folders = countTempFolders();
  {
    await using engine = await open();

    await t.step("a bound value arrives as it is, whatever it looks like", async () => {
      for (const text of HOSTILE) {
        const [row] = await engine.rows<{ text: string; list: string[]; isIn: number }>(
          "SELECT {text:String} AS text, {list:Array(String)} AS list, text IN {list:Array(String)} AS isIn",
          { parameters: { text, list: [text, "other", text] } },
        );
        assert.deepEqual(row, { text, list: [text, "other", text], isIn: 1 });
      }
    });

    await t.step("integers of 64 bits, and numbers that are none, arrive whole", async () => {
      const [row] = await engine.rows(
        "SELECT {n:UInt64} AS n, -9223372036854775808 AS low, toInt128(7) AS wide, nan AS none, toUInt32(7) AS small, 0.1 AS tenth",
        { parameters: { n: 2n ** 64n - 1n } },
      );
      const expected = { n: "18446744073709551615", low: "-9223372036854775808", wide: "7", none: "nan" };
      assert.deepEqual(row, { ...expected, small: 7, tenth: 0.1 });
    });

    await t.step("times are in UTC, wherever the machine is", async () => {
      assert.deepEqual(await engine.rows("SELECT toString(toDateTime(0)) AS epoch"), [{
        epoch: "1970-01-01 00:00:00",
      }]);
    });

    await t.step("a result comes in pieces that stay what they are", async () => {
      const pieces: Uint8Array[] = [];
      for await (const piece of engine.query("SELECT number FROM numbers(500000)", { format: "TSV" })) {
        pieces.push(piece);
      }
      assert.ok(pieces.length > 3, `${pieces.length} pieces`);
      const text = await new Blob(pieces as Uint8Array<ArrayBuffer>[]).text();
      assert.equal(text, Array.from({ length: 500_000 }, (_, i) => `${i}\n`).join(""));
    });

    await t.step("several statements run at once, also one inside another's result", async () => {
      const answers = await Promise.all([1, 2, 3].map((n) => sleepFor(engine, n)));
      assert.deepEqual(answers, [1, 2, 3]);
      for await (const _ of engine.query("SELECT number FROM numbers(3)")) assert.equal(await sleepFor(engine, 4), 4);
    });

    await t.step("a statement without a result has none", async () => {
      assert.deepEqual(await engine.rows("CREATE TABLE t (a UInt8) ENGINE = Memory"), []);
      assert.deepEqual(await engine.rows("INSERT INTO t SELECT 5"), []);
      assert.deepEqual(await engine.rows("SELECT a FROM t"), [{ a: 5 }]);
    });

    await t.step("errors say what ClickHouse says, before a result and in the middle of it", async () => {
      const early = await thrown(() => engine.rows("SELECT nosuch"));
      assert.equal(early.kind, "data");
      assert.match(
        early.message,
        /^Cannot run a statement: Unknown expression identifier .*nosuch.*\(ClickHouse error 47\)$/,
      );
      const late = await thrown(() => engine.rows("SELECT throwIf(number = 900000) FROM numbers(1000000)"));
      assert.match(late.message, /\(ClickHouse error 395\)$/);
      assert.match((await thrown(() => engine.rows("CREATE TABLE t (a UInt8)"))).message, /\(ClickHouse error \d+\)$/);
      assert.deepEqual(await engine.rows("SELECT 1 AS one"), [{ one: 1 }]);
    });

    await t.step("a signal ends a statement soon, and timers go on while it runs", async () => {
      const abort = new AbortController();
      let ticks = 0;
      const timer = setInterval(() => ticks++, 20);
      setTimeout(() => abort.abort(), 500);
      const start = performance.now();
      await assert.rejects(engine.rows(LONG, { signal: abort.signal }), { name: "AbortError" });
      const tookMs = performance.now() - start;
      clearInterval(timer);
      assert.ok(tookMs > 450 && tookMs < 3000, `${tookMs} ms`);
      assert.ok(ticks > 10, `${ticks} ticks`);
      assert.deepEqual(await listRunning(engine), []);
    });

    await t.step("a signal that has aborted already starts nothing", async () => {
      await assert.rejects(engine.rows(LONG, { signal: AbortSignal.abort() }), { name: "AbortError" });
    });

    await t.step("a signal ends a statement that has no result, too", async () => {
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 300);
      await assert.rejects(engine.rows(`INSERT INTO t ${LONG}`, { signal: abort.signal }), { name: "AbortError" });
      assert.deepEqual(await listRunning(engine), []);
    });

    await t.step("who stops reading ends the statement", async () => {
      for await (const _ of engine.query("SELECT number FROM numbers(1000000000000)")) break;
      assert.deepEqual(await listRunning(engine), []);
    });

    await t.step("progress is told before the first row", async () => {
      const abort = new AbortController(), told: [number, number][] = [];
      const progress = (rows: number, bytes: number) => {
        told.push([rows, bytes]);
        if (told.length === 3) abort.abort();
      };
      await assert.rejects(engine.rows(LONG, { signal: abort.signal, progress }), { name: "AbortError" });
      assert.ok(told[2]![0] > told[0]![0] && told[0]![1] > 0, told.join(" "));
    });

    await t.step("more memory than it may have is an error that says so and what to do", async () => {
      const error = await thrown(() => engine.rows("SELECT uniqExact(number) FROM numbers(300000000)"));
      assert.equal(error.kind, "storage");
      assert.match(error.message, /memory limit exceeded: .*\(ClickHouse error 241\)$/);
      assert.match(error.hint ?? "", /--max-memory/);
      assert.deepEqual(await engine.rows("SELECT 1 AS one"), [{ one: 1 }]);
    });

    await t.step("what doesn't fit into memory and can be spilled is, into the engine's own folder", async () => {
      const sql = "SELECT count() AS n FROM (SELECT number, count() FROM numbers(12000000) GROUP BY number)";
      const spilled = "SELECT value AS n FROM system.events WHERE event = 'ExternalAggregationWritePart'";
      assert.deepEqual(await engine.rows(sql), [{ n: "12000000" }]);
      const [row] = await engine.rows<{ n: string }>(spilled);
      assert.ok(Number(row?.n) > 0, "nothing was spilled");
    });

    await t.step("a secret is in no error, and in no list of what runs", async () => {
      const secret = "Sec/ret+Key=1'\\";
      const secrets = { url: "http://127.0.0.1:9/bucket/**", key: "AKID", secret };
      const table = "s3({url:String}, {key:String}, {secret:String}, 'LineAsString', 'line String', 'auto')";
      for (
        const sql of [
          `SELECT * FROM ${table} WHERE nosuch`,
          "SELECT toUInt8({secret:String})",
          "SELECT {secret:String} FROM",
        ]
      ) {
        const error = await thrown(() => engine.rows(sql, { secrets }));
        assert.doesNotMatch(Deno.inspect(error), /Sec\/ret/);
      }
      // While nobody answers, it can be looked at.
      const abort = new AbortController();
      const waiting = assert.rejects(engine.rows(`SELECT * FROM ${table}`, { secrets, signal: abort.signal }));
      let shown = "";
      for (let left = 100; left > 0 && shown === ""; left--) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        shown = (await listRunning(engine)).join();
      }
      abort.abort();
      await waiting;
      assert.match(shown, /s3\('http:\/\/127\.0\.0\.1:9\/bucket\/\*\*', 'AKID', '\[HIDDEN\]'/);
      assert.doesNotMatch(shown, /Sec\/ret/);
    });
  }
  assert.equal(countTempFolders(), folders);
});

async function sleepFor(engine: QueryEngine, n: number): Promise<number> {
  const [row] = await engine.rows<{ n: number }>("SELECT {n:UInt8} AS n, sleep(0.1) AS s", { parameters: { n } });
  return row!.n;
}

async function listRunning(engine: QueryEngine): Promise<string[]> {
  const rows = await engine.rows<{ query: string }>("SELECT query FROM system.processes");
  return rows.map(({ query }) => query).filter((query) => !query.includes("system.processes"));
}

testWith("chdb", "the embedded engine leaves signals and output alone, and the process ends well", async () => {
  const script = `
    import { openEmbeddedEngine } from ${JSON.stringify(import.meta.resolve("../../src/fleet/chdb.ts"))};
    const caught = () => Deno.readTextFileSync("/proc/self/status").match(/(?<=^Sig(Ign|Cgt):.{9}).*$/gm).join();
    const abort = new AbortController();
    Deno.addSignalListener("SIGINT", () => abort.abort());
    // Deno takes its own a moment after the start.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const before = caught();
    await using engine = await openEmbeddedEngine({ paths: [${
    JSON.stringify(CHDB)
  }], maxMemoryBytes: 1e9, threads: 2 });
    setTimeout(() => Deno.kill(Deno.pid, "SIGINT"), 500);
    try {
      await engine.rows(${JSON.stringify(LONG)}, { signal: abort.signal });
    } catch (error) {
      console.log(error.name);
    }
    console.log("signals are caught as before:", caught() === before || before + " then " + caught());
  `;
  const folder = await Deno.makeTempDir(), path = `${folder}/script.ts`;
  await Deno.writeTextFile(path, script);
  const config = `--config=${new URL("../../deno.json", import.meta.url).pathname}`;
  for (let round = 0; round < 3; round++) {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--allow-all", "--no-lock", "--no-check", config, path],
    }).output();
    const decoder = new TextDecoder();
    assert.equal(decoder.decode(stderr), "");
    assert.equal(decoder.decode(stdout), "AbortError\nsignals are caught as before: true\n");
    assert.equal(code, 0);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("openEmbeddedEngine() says where it looked and how to install what is missing", async () => {
  const error = await thrown(() => openEmbeddedEngine({ paths: ["/nowhere/libchdb.so"], maxMemoryBytes: 1e9 }));
  assert.equal(error.kind, "usage");
  assert.equal(error.message, 'Cannot open the embedded engine: there is no file "/nowhere/libchdb.so"');
  assert.match(error.hint ?? "", /`npm install --global @chdb\/lib-linux-\w+-gnu@26\.7\.3-stable\.1`.*--chdb PATH/);
});

Deno.test("openEmbeddedEngine() refuses a library that is none of ClickHouse's", async () => {
  const error = await thrown(() => openEmbeddedEngine({ paths: ["/bin/sh"], maxMemoryBytes: 1e9 }));
  assert.match(error.message, /^Cannot load \/bin\/sh: /);
});

Deno.test("listLibraryPaths() takes --chdb before IBSR_CHDB before what npm installs", () => {
  assert.deepEqual(listLibraryPaths("/a", { IBSR_CHDB: "/b" }), ["/a"]);
  assert.deepEqual(listLibraryPaths(undefined, { IBSR_CHDB: "/b" }), ["/b"]);
  const paths = listLibraryPaths(undefined, { HOME: "/home/me" });
  assert.match(paths[0]!, /^\/usr\/local\/lib\/node_modules\/@chdb\/lib-linux-\w+-gnu\/libchdb\.so$/);
  assert.ok(paths.includes("/home/me/.local/lib/libchdb.so"));
});

Deno.test("encodeParameter() writes texts as fields of TSV, and lists as literals", () => {
  assert.equal(encodeParameter("a\tb\\c'"), "a\\tb\\\\c'");
  assert.equal(encodeParameter(["a'b", 5, 2n ** 63n]), "['a\\'b',5,9223372036854775808]");
  assert.equal(encodeParameter(true), "true");
});

Deno.test("engineError() takes the kind from ClickHouse's number, old and new", () => {
  const old = "Code: 193, e.displayText() = DB::Exception: Wrong password for user x, e.what() = DB::Exception\n";
  assert.deepEqual(parseFailure(old), { code: 193, message: "Wrong password for user x" });
  assert.equal(engineError("ask", old).kind, "permission");
  assert.equal(engineError("ask", "Code: 241. DB::Exception: too much. (MEMORY_LIMIT_EXCEEDED)").kind, "storage");
  assert.equal(engineError("ask", "no code").message, "Cannot ask: no code");
});
