/**
 * The man page and the completions against the option tables, and in the programs that read them.
 */
import assert from "node:assert/strict";
import { COMMANDS } from "../src/cli/commands.ts";
import { completionScript } from "../src/cli/completions.ts";
import { manualPage } from "../src/cli/manual.ts";
import { FORMAT_NAMES } from "../src/cli/tables/rules.ts";
import { SHELLS } from "../src/cli/tables/program.ts";
import { EXIT } from "../src/errors.ts";
import { FORMATS } from "../src/rules/formats.ts";
import { testWith } from "./needs.ts";

const page = manualPage(COMMANDS, "1.2.3");

Deno.test("manualPage() has every command, option and exit code", () => {
  const plain = page.replaceAll("\\-", "-");
  for (const { name, options } of COMMANDS) {
    const start = plain.indexOf(`.SS "ibsr ${name} [options]`);
    assert.ok(start >= 0, name);
    const section = plain.slice(start, plain.indexOf("\n.S", start + 1));
    for (const option of Object.keys(options)) {
      assert.ok(section.includes(`\\fB--${option}\\fR`), `${name} --${option}`);
    }
  }
  for (const code of [0, 1, 2, ...Object.values(EXIT), 130]) {
    assert.ok(plain.includes(`\n.TP\n\\fB${code}\\fR\n`), `exit code ${code}`);
  }
});

Deno.test("manualPage() writes out what roff would take for a request or a quotation mark", () => {
  const command = { name: "x", summary: "s", description: '.so /etc/passwd\n\n\'br \\n(x - "q"', options: {} };
  const lines = manualPage([command], "1").split("\n");
  assert.ok(lines.includes("\\&.so /etc/passwd"));
  assert.ok(lines.includes("\\(aqbr \\en(x \\- \\(dqq\\(dq"));
  assert.ok(lines.every((line) => !/^[.'](?!TH|SH|SS|TP|PP|B |RS|RE|EX|EE)/.test(line)), lines.join("\n"));
});

testWith("shells", "manualPage() is read by man without a warning", async () => {
  const path = await Deno.makeTempFile({ suffix: ".1" });
  await Deno.writeTextFile(path, page);
  const { code, stdout, stderr } = await new Deno.Command("man", {
    args: ["--warnings=w", "-E", "UTF-8", "-l", path],
    env: { MANWIDTH: "80" },
  }).output();
  await Deno.remove(path);
  assert.equal(new TextDecoder().decode(stderr), "");
  assert.equal(code, 0);
  assert.match(new TextDecoder().decode(stdout), /--snapshot-interval-sec SEC/);
});

Deno.test("--format of ibsr rules offers the formats that there are", () => {
  assert.deepEqual(FORMAT_NAMES, FORMATS.map(({ name }) => name));
});

Deno.test("completionScript() offers every command and option in every shell", () => {
  for (const shell of SHELLS) {
    const script = completionScript(shell, COMMANDS);
    for (const { name, options } of COMMANDS) {
      for (const word of name.split(" ")) assert.ok(script.includes(word), `${shell}: ${word}`);
      for (const option of Object.keys(options)) {
        assert.ok(script.includes(shell === "fish" ? `-l ${option} ` : `--${option}`), `${shell}: --${option}`);
      }
    }
  }
});

/** What a shell prints when it has read a script and then runs `commands`. */
async function runShell(shell: string, commands: (path: string) => string): Promise<string> {
  const home = await Deno.makeTempDir(), path = `${home}/completion`;
  await Deno.writeTextFile(path, completionScript(shell as typeof SHELLS[number], COMMANDS));
  const args = { bash: ["--norc", "-c"], zsh: ["-f", "-c"], fish: ["--no-config", "-c"] }[shell]!;
  const { stdout, stderr } = await new Deno.Command(shell, { args: [...args, commands(path)], env: { HOME: home } })
    .output();
  await Deno.remove(home, { recursive: true });
  assert.equal(new TextDecoder().decode(stderr), "");
  return new TextDecoder().decode(stdout);
}

const CASES: [words: string[], offered: string[]][] = [
  [["conv"], ["convert"]],
  [["collect", "--xdp-mode", "n"], ["native"]],
  [["collect", "--snap"], ["--snapshot-interval-sec"]],
  [["collect", "-i", "l"], ["lo"]],
  [["convert", "/etc/host"], ["/etc/hostname", "/etc/hosts"]],
  [["collect", "-o", "/et"], ["/etc"]],
  [["collect", "--user", "roo"], ["root"]],
  [["collect", "-p", ""], []],
  [["config", "sh"], ["show"]],
  [["config", "show", "--js"], ["--json"]],
  [["export", "s3", "--buc"], ["--bucket"]],
  [["completions", ""], ["bash", "fish", "zsh"]],
  [["help", ""], ["collect", "export", "systemd"]],
  [["help", "systemd", "p"], ["print"]],
  [["hel"], ["help"]],
  [["config", "show", ""], ["check", "collect", "export", "status"]],
  [["rules", "-f", "nft"], ["nftables", "nftables-json"]],
  [["rules", "--format", "s"], ["stix", "suricata"]],
];

testWith("shells", "completionScript() completes words in bash", async () => {
  const calls = CASES.map(([words]) =>
    `COMP_WORDS=(ibsr ${words.map((w) => `'${w}'`).join(" ")}); COMP_CWORD=${words.length}; _ibsr; ` +
    'for word in "${COMPREPLY[@]}"; do echo "$word"; done | sort; echo ==='
  );
  const said = await runShell("bash", (path) => [`source ${path}`, ...calls].join("\n"));
  for (const [i, offers] of said.split("===\n").slice(0, -1).entries()) {
    const [words, offered] = CASES[i]!, got = offers.split("\n").filter(Boolean);
    assert.deepEqual(got.filter((g) => offered.includes(g)), offered, words.join(" "));
    assert.ok(got.every((g) => g.startsWith(words.at(-1)!)), `${words.join(" ")}: ${got}`);
    if (offered.length === 0) assert.deepEqual(got, []);
  }
});

testWith("shells", "completionScript() completes words in fish", async () => {
  const calls = CASES.map(([words]) => `complete -C "ibsr ${words.join(" ")}"; echo ===`);
  const said = await runShell("fish", (path) => [`source ${path}`, ...calls].join("\n"));
  for (const [i, offers] of said.split("===\n").slice(0, -1).entries()) {
    const [words, offered] = CASES[i]!;
    const got = offers.split("\n").filter(Boolean).map((line) => line.split("\t")[0]!.replace(/\/$/, ""));
    assert.deepEqual(got.filter((g) => offered.includes(g)), offered, words.join(" "));
  }
});

testWith("shells", "completionScript() completes words in zsh", async () => {
  // Completion is the line editor's, so this types into a zsh in a pseudo terminal, and reads what it lists.
  const said = await runShell("zsh", (path) => `
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell 'PS1=; autoload -U compinit; compinit -u -D; source ${path}; unsetopt zle_bracketed_paste; LISTMAX=0'
    sleep 1
    zpty -w -n shell $'ibsr collect --xdp-mode nat\\t\\n'
    zpty -w -n shell $'ibsr conv\\t\\n'
    zpty -w -n shell $'ibsr collect --snapshot\\t\\n'
    zpty -w -n shell $'ibsr rules -f suri\\t\\n'
    zpty -w -n shell $'ibsr completions fi\\t\\n'
    zpty -w -n shell $'ibsr help coll\\t\\n'
    zpty -w -n shell $'ibsr config show stat\\t\\n'
    sleep 1
    zpty -r -t shell output; while zpty -r -t shell more; do output+=$more; done
    print -r -- "$output"; zpty -d shell`);
  for (
    const line of [
      "--xdp-mode native",
      "ibsr convert",
      "--snapshot-interval-sec",
      "rules -f suricata",
      "completions fish",
      "help collect",
      "config show status",
    ]
  ) {
    assert.ok(said.includes(line), `${line} in ${JSON.stringify(said)}`);
  }
});
