import assert from "node:assert/strict";
import { compactPorts, expandPorts, formatAddress, parseAddress, parsePorts } from "../src/address.ts";
import { createRandom } from "./packets.ts";

Deno.test("parseAddress() and formatAddress() agree with the URL parser on 20,000 random IPv6 addresses", () => {
  const { word: random } = createRandom(7);
  for (let i = 0; i < 20_000; i++) {
    const groups = Array.from({ length: 8 }, () => random() % 3 === 0 ? random() & 0xffff : random() % 4 === 0 ? 1 : 0);
    const full = groups.map((g) => g.toString(16)).join(":");
    const canonical = new URL(`http://[${full}]/`).hostname.slice(1, -1);
    const bytes = parseAddress(full)!;
    assert.deepEqual([...bytes], groups.flatMap((g) => [g >> 8, g & 255]));
    assert.equal(formatAddress(bytes), canonical);
    assert.deepEqual(parseAddress(canonical), bytes);
  }
});

Deno.test("parseAddress() takes what RFC 4291 writes and nothing else", () => {
  const bytes = (text: string) => parseAddress(text) && formatAddress(parseAddress(text)!);
  assert.equal(bytes("192.0.2.1"), "192.0.2.1");
  assert.equal(bytes("::"), "::");
  assert.equal(bytes("::ffff:192.0.2.1"), "::ffff:c000:201");
  assert.equal(bytes("2001:DB8::0:1"), "2001:db8::1");
  assert.equal(bytes("1:2:3:4:5:6:7::"), "1:2:3:4:5:6:7:0");
  const wrong =
    "1.2.3|1.2.3.4.5|01.2.3.4|256.1.1.1|1.2.3.4 |:::|1::2::3|1:2:3:4:5:6:7|1:2:3:4:5:6:7:8:9|12345::|g::|::1%eth0|1.2.3.4::|::1.2.3|";
  for (const text of wrong.split("|")) assert.equal(parseAddress(text), undefined, text);
});

Deno.test("parsePorts() reads lists and ranges, and names the part that is none", () => {
  assert.deepEqual(parsePorts("443,80"), [80, 443]);
  assert.deepEqual(parsePorts("8000-8003, 80,8001"), [80, 8000, 8001, 8002, 8003]);
  assert.equal((parsePorts("1-65535") as number[]).length, 65535);
  for (
    const [text, part] of [["0", "0"], ["80,65536", "65536"], ["9-8", "9-8"], ["80,", ""], ["http", "http"], [
      "-1",
      "-1",
    ]]
  ) {
    assert.deepEqual(parsePorts(text!), { wrong: part });
  }
});

Deno.test("compactPorts() and expandPorts() undo each other", () => {
  const { word: random } = createRandom(3);
  for (let i = 0; i < 500; i++) {
    const ports = [...new Set(Array.from({ length: random() % 60 }, () => 1 + random() % 100))].sort((a, b) => a - b);
    assert.deepEqual(expandPorts(compactPorts(ports)), ports);
  }
  assert.deepEqual(compactPorts([80, 443, 8000, 8001, 8002, 9000, 9001]), [80, 443, "8000-8002", 9000, 9001]);
});
