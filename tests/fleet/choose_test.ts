/** Which files are read, by their paths. */
import assert from "node:assert/strict";
import { chooseFiles, readPlace } from "../../src/fleet/choose.ts";

const HOUR = 3_600_000;
/** 2026-11-21 00:00 UTC. */
const DAY = Date.UTC(2026, 10, 21);

/** The paths chosen of these. */
function choose(paths: readonly string[], choice: { hosts?: string[]; fromMs?: number; toMs?: number }): string[] {
  return chooseFiles(paths.map((path) => ({ path, bytes: 1 })), { hosts: [], ...choice }).map(({ path }) => path);
}

/** As `ibsr export s3 --layout hive` stores them. */
function hive(host: string, hour: number, tail = "", date = "2026-11-21"): string {
  const digits = String(hour).padStart(2, "0");
  return `s3://b/ibsr/host=${host}/date=${date}/hour=${digits}/snapshot_${
    date.replaceAll("-", "")
  }${digits}${tail}.jsonl.zst`;
}

Deno.test("readPlace() reads host and hour from paths of the hive layout, in any folder", () => {
  assert.deepEqual(readPlace(hive("web-1", 7)), {
    host: "web-1",
    spool: "s3://b/ibsr/host=web-1/",
    startMs: DAY + 7 * HOUR,
  });
  assert.equal(readPlace("host=a/date=2026-11-21/hour=07/sub/snapshot_2026112107.jsonl").spool, "host=a/sub/");
  assert.equal(readPlace("/x/host=it's {a,b}*/date=2026-11-21/hour=07/snapshot_2026112107.jsonl").host, "it's {a,b}*");
});

Deno.test("readPlace() takes the hour from a segment's name where the path has no host", () => {
  assert.deepEqual(readPlace("/spool/snapshot_2026112107_0003.open.jsonl"), {
    ...{ host: undefined, spool: "/spool/", startMs: DAY + 7 * HOUR },
  });
  assert.equal(readPlace("/spool/mine.jsonl").startMs, undefined);
  assert.equal(readPlace("mine.jsonl").spool, "");
});

Deno.test("chooseFiles() keeps the hosts asked for, and what doesn't tell its host", () => {
  const paths = [hive("a", 1), hive("b", 1), "/spool/snapshot_2026112101.jsonl"];
  assert.deepEqual(choose(paths, { hosts: ["b"] }), [paths[1], paths[2]]);
  assert.deepEqual(choose(paths, {}), paths);
});

Deno.test("chooseFiles() leaves out segments that begin after the time asked for", () => {
  const paths = [1, 2, 3].map((hour) => hive("a", hour));
  assert.deepEqual(choose(paths, { toMs: DAY + 2.5 * HOUR }), paths.slice(0, 2));
  // An interval that ends at 3:00 sharp is in the segment of that hour, and asked for.
  assert.deepEqual(choose(paths, { toMs: DAY + 3 * HOUR }), paths);
});

Deno.test("chooseFiles() leaves out segments that ended before the time asked for, however they are rotated", () => {
  const hourly = [1, 2, 3, 4].map((hour) => hive("a", hour));
  // That of 3:00 may have begun at 3:59, if segments end by size: then that of 2:00 reaches beyond 3:30.
  assert.deepEqual(choose(hourly, { fromMs: DAY + 3.5 * HOUR }), hourly.slice(1));
  assert.deepEqual(choose(hourly, { fromMs: DAY + 4 * HOUR }), hourly.slice(2));
  const daily = [hive("a", 0, "", "2026-11-20"), hive("a", 0)];
  assert.deepEqual(choose(daily, { fromMs: DAY + 5 * HOUR }), [daily[1]]);
  assert.deepEqual(choose(daily, { fromMs: DAY - 1 }), daily);
  // Of one hour: all of them, since their order within it is not asked.
  const numbered = [hive("a", 3), hive("a", 3, "_0001"), hive("a", 5)];
  assert.deepEqual(choose(numbered, { fromMs: DAY + 5.5 * HOUR }), numbered);
  assert.deepEqual(choose(numbered, { fromMs: DAY + 6 * HOUR }), [numbered[2]]);
});

Deno.test("chooseFiles() takes no host's segments for another's successors", () => {
  const paths = [hive("a", 1), hive("b", 5), "/s/snapshot_2026112101.jsonl", "/t/snapshot_2026112105.jsonl"];
  assert.deepEqual(choose(paths, { fromMs: DAY + 8 * HOUR }), paths);
});

Deno.test("chooseFiles() keeps what any rotation would put into the time asked for", () => {
  let seed = 1;
  const random = () => (seed = seed * 48271 % 0x7fffffff) / 0x7fffffff;
  for (let round = 0; round < 300; round++) {
    // Snapshots at random times; a segment ends by hour, by day, or at random within the day.
    const rotate = ["hourly", "daily", "size"][round % 3], segments: { path: string; ends: number[] }[] = [];
    let at = DAY - 30 * HOUR, current: { start: number; ends: number[] } | undefined;
    while (at < DAY + 30 * HOUR) {
      at += 1 + Math.floor(random() * HOUR);
      const unit = rotate === "hourly" ? HOUR : 24 * HOUR;
      const isOver = !current || Math.floor(current.start / unit) !== Math.floor(at / unit) ||
        (rotate === "size" && random() < 0.2);
      if (isOver) {
        current = { start: at, ends: [] };
        const hour = new Date(at).toISOString(), name = hour.slice(0, 13).replaceAll(/[-T]/g, "");
        const before = segments.filter(({ path }) => path.includes(name)).length;
        const tail = before > 0 ? `_${String(before).padStart(4, "0")}` : "";
        segments.push({ path: hive("h", Number(hour.slice(11, 13)), tail, hour.slice(0, 10)), ends: current.ends });
      }
      current!.ends.push(at);
    }
    const fromMs = DAY + Math.floor((random() - 0.5) * 40 * HOUR), toMs = fromMs + Math.floor(random() * 10 * HOUR);
    const chosen = new Set(choose(segments.map(({ path }) => path), { fromMs, toMs }));
    for (const { path, ends } of segments) {
      if (ends.some((end) => end > fromMs && end <= toMs)) assert.ok(chosen.has(path), `${rotate} ${path}`);
    }
    if (rotate === "hourly") assert.ok(chosen.size <= (toMs - fromMs) / HOUR + 3, `${chosen.size} chosen`);
  }
});
