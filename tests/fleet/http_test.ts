/** The HTTP engine against a real server (server.ts). */
import assert from "node:assert/strict";
import { openServer, Server, type ServerOptions } from "../../src/fleet/http.ts";
import { testWith } from "../needs.ts";
import { thrown } from "../thrown.ts";
import { ClickHouse, USER } from "./server.ts";

const ENDLESS = "SELECT count() FROM system.numbers WHERE number < 0";

function optionsFor(clickhouse: ClickHouse, options: Partial<ServerOptions> = {}): ServerOptions {
  return {
    ...{ url: clickhouse.url, user: USER.name, password: USER.password, userAgent: "ibsr/test" },
    signal: new AbortController().signal,
    ...options,
  };
}

/** As openServer() makes it, without the settings that a server of 2018 doesn't know. */
function connect(clickhouse: ClickHouse, options: Partial<ServerOptions> = {}): Server {
  return new Server(optionsFor(clickhouse, options), {});
}

testWith("clickhouse", "the HTTP engine asks a real server", async (t) => {
  await using clickhouse = await ClickHouse.start();

  await t.step("rows come as objects, in as many pieces as they take", async () => {
    const sql = "SELECT toString(number) AS n FROM system.numbers LIMIT 300000";
    const rows = await connect(clickhouse).rows<{ n: string }>(sql);
    assert.equal(rows.length, 300_000);
    assert.equal(rows.at(-1)?.n, "299999");
  });

  await t.step("the user and a password of any characters are those of the request", async () => {
    await connect(clickhouse).rows("SELECT 4242 AS mark");
    assert.match(await clickhouse.log(), /\(from 127\.0\.0\.1:\d+, user: ibsr[^\n]*\) SELECT 4242 AS mark/);
  });

  await t.step("a wrong password is a permission error that doesn't tell it", async () => {
    const error = await thrown(() => connect(clickhouse, { password: "guessed-secret" }).rows("SELECT 1"));
    assert.equal(error.kind, "permission");
    assert.match(
      error.message,
      /^Cannot run a statement on the engine at 127\.0\.0\.1:\d+: Wrong password for user ibsr \(/,
    );
    assert.doesNotMatch(`${error.message} ${error.hint}`, /guessed-secret/);
  });

  await t.step("an unknown user is a permission error", async () => {
    assert.equal((await thrown(() => connect(clickhouse, { user: "nobody" }).rows("SELECT 1"))).kind, "permission");
  });

  await t.step("a statement that is wrong says why, with ClickHouse's number", async () => {
    const error = await thrown(() => connect(clickhouse).rows("SELECT nosuch"));
    assert.equal(error.kind, "data");
    assert.match(error.message, /Unknown identifier: nosuch.*\(ClickHouse error 47\)$/);
  });

  await t.step("too little memory says so, and what to do", async () => {
    const sql = "SELECT count() FROM (SELECT number FROM system.numbers LIMIT 20000000) GROUP BY number % 10000000";
    const error = await thrown(() => connect(clickhouse).rows(sql));
    assert.equal(error.kind, "storage");
    assert.match(error.message, /[Mm]emory limit .*\(ClickHouse error 241\)$/);
    assert.match(error.hint ?? "", /--max-memory/);
  });

  await t.step("an error late in a result is an error, not a short result", async () => {
    // The server is told to send what it has: the status is 200 by then.
    const engine = new Server(optionsFor(clickhouse), { wait_end_of_query: "0", max_block_size: "1000" });
    const sql = "SELECT number, throwIf(number = 2000000) FROM system.numbers LIMIT 3000000";
    let bytes = 0;
    const error = await thrown(async () => {
      for await (const chunk of engine.query(sql)) bytes += chunk.length;
    });
    assert.match(
      error.message,
      /^Cannot read from the engine at .*: Value passed to 'throwIf'.*\(ClickHouse error 395\)$/,
    );
    assert.ok(bytes > 1e6, `${bytes} bytes before it`);
  });

  await t.step("a signal ends the statement at the server, soon", async () => {
    const abort = new AbortController(), start = performance.now();
    const done = connect(clickhouse).rows(ENDLESS, { signal: abort.signal });
    setTimeout(() => abort.abort(), 300);
    await assert.rejects(done, { name: "AbortError" });
    for (let left = 50; /numbers/.test(await listOthers(clickhouse)); left--) {
      assert.ok(left > 0, "it is still running");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.ok(performance.now() - start < 3000);
  });

  await t.step("who stops reading ends the statement at the server", async () => {
    const engine = new Server(optionsFor(clickhouse), { wait_end_of_query: "0" });
    for await (const _ of engine.query("SELECT number FROM system.numbers")) break;
    for (let left = 100; /numbers/.test(await listOthers(clickhouse)); left--) {
      assert.ok(left > 0, "it is still running");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  await t.step("progress is told while nothing has come yet", async () => {
    const abort = new AbortController(), told: number[] = [];
    const done = connect(clickhouse).rows(ENDLESS, {
      signal: abort.signal,
      progress: (rows, bytes) => {
        told.push(rows);
        assert.ok(bytes >= rows);
        if (told.length === 2) abort.abort();
      },
    });
    await assert.rejects(done, { name: "AbortError" });
    assert.ok(told[1]! > told[0]! && told[0]! > 0, told.join());
  });

  await t.step("TLS is spoken; a certificate that nobody vouches for is refused", async () => {
    const error = await thrown(() => connect(clickhouse, { url: clickhouse.secureUrl }).rows("SELECT 1"));
    assert.equal(error.kind, "network");
    assert.match(error.message, /certificate/i);
    const caCerts = [await Deno.readTextFile(clickhouse.authority)];
    using httpClient = Deno.createHttpClient({ caCerts });
    const engine = connect(clickhouse, { url: clickhouse.secureUrl, httpClient });
    assert.deepEqual(await engine.rows("SELECT 1 AS one"), [{ one: 1 }]);
  });

  await t.step("a server that is too old for the reports is refused by its version", async () => {
    const error = await thrown(() => openServer(optionsFor(clickhouse)));
    assert.match(error.message, /^Cannot use the engine at 127\.0\.0\.1:\d+: it is ClickHouse 18\.16\.1$/);
  });

  await t.step("no password is in the server's log, its lists, or its addresses", async () => {
    await clickhouse.ask("SYSTEM FLUSH LOGS");
    const log = await clickhouse.log() + await clickhouse.ask("SELECT * FROM system.query_log FORMAT Vertical");
    assert.ok(log.includes("SELECT 4242"));
    assert.ok(!log.includes(USER.password) && !log.includes(encodeURIComponent(USER.password)));
  });
});

Deno.test("the HTTP engine tells of a server that isn't there, after several attempts", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }), { port } = listener.addr;
  listener.close();
  const engine = new Server({
    ...{ url: new URL(`http://127.0.0.1:${port}`), user: "u", password: "very-secret", userAgent: "ibsr/test" },
    signal: new AbortController().signal,
  }, {});
  const error = await thrown(() => engine.rows("SELECT 1"));
  assert.equal(error.kind, "network");
  assert.match(error.message, /^Cannot reach the engine at 127\.0\.0\.1:\d+: .*refused/);
  assert.doesNotMatch(Deno.inspect(error), /very-secret/);
});

async function listOthers(clickhouse: ClickHouse): Promise<string> {
  return await clickhouse.ask("SELECT query FROM system.processes WHERE query NOT LIKE '%processes%'");
}
