/**
 * From a policy file's text, YAML or TOML, to a tree of values that know their line and column. Pure.
 *
 * What is read was written by strangers: size, nesting, number of values and what aliases stand for are limited, and
 * a text over a limit is refused before it costs seconds. One document a file, a key once a mapping, no merge keys,
 * no tags: what two readers of the same file would take differently is refused, since the engine may be the other.
 * Nothing here knows an engine's keys (src/policy/read.ts reads them, src/policy/<engine>/ names them).
 */
import { type AST, ParseError, parseTOML } from "toml-eslint-parser";
import { Composer, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, type Node, Parser } from "yaml";
import type { CST, Document as YamlDocument } from "yaml";
import type { Finding, Place, PolicyFile } from "./policy.ts";

/** A value with its place; line and column count from 1. */
export type Tree = Scalar | List | Mapping;

/** A value without parts. Whole numbers are bigint, others number; dates are their text. */
export interface Scalar {
  kind: "scalar";
  value: string | number | bigint | boolean | null;
  line: number;
  column: number;
}

/** Values in the file's order. */
export interface List {
  kind: "list";
  values: Tree[];
  line: number;
  column: number;
}

/** Values by key, in the file's order. */
export interface Mapping {
  kind: "mapping";
  members: Map<string, Member>;
  line: number;
  column: number;
}

/** A key with its own place, and its value. */
export interface Member {
  line: number;
  column: number;
  value: Tree;
}

/** A file that was read, or what is wrong with it. */
export interface Document {
  path: string;
  format: Format;
  /** Undefined if there is an error among the findings. */
  root: Tree | undefined;
  findings: readonly Finding[];
}

/** What the text is written in. */
export type Format = "yaml" | "toml";

/** Limits on a text: no policy of a person comes near them. */
const LIMITS = {
  yamlBytes: 10 << 20,
  tomlBytes: 1 << 20,
  /** Lists and mappings inside one another. */
  depth: 64,
  /** Values, after every alias is replaced by what it stands for. */
  values: 1_000_000,
  /** Lexical tokens of a YAML text: about one a microsecond. */
  tokens: 3_000_000,
  lines: 1_000_000,
  /** Characters of a key. */
  key: 1_000,
} as const;

/** Tags of plain values; any other makes the value mean something else to some reader. */
const TAGS = ["str", "int", "float", "bool", "null", "map", "seq"];

/** Problems that one file's findings tell at most. */
const MAX_PROBLEMS = 20;

/** Thrown at the first thing that makes the text unreadable; never leaves this file. */
class Refusal extends Error {
  constructor(message: string, readonly line: number, readonly column: number) {
    super(message);
  }
}

/** The format of a path's extension; a file that says nothing is YAML, which JSON is too. */
function formatOf(path: string): Format {
  return /\.toml$/i.test(path) ? "toml" : "yaml";
}

/** Reads a file's text. Never throws for what is in it: `root` is then undefined and the findings say why. */
export function readDocument(file: PolicyFile, format: Format = formatOf(file.path)): Document {
  const { path } = file, text = file.text.startsWith("\ufeff") ? file.text.slice(1) : file.text;
  const findings: Finding[] = [];
  try {
    checkText(text, format);
    const root = format === "toml" ? readToml(text) : readYaml(text);
    return { path, format, root, findings };
  } catch (error) {
    for (const refusal of error instanceof AggregateError ? error.errors : [error]) {
      if (!(refusal instanceof Refusal)) throw error;
      findings.push({
        severity: "error",
        code: format,
        message: refusal.message,
        place: { path, line: refusal.line, column: refusal.column },
      });
    }
    return { path, format, root: undefined, findings };
  }
}

function checkText(text: string, format: Format): void {
  const limit = format === "toml" ? LIMITS.tomlBytes : LIMITS.yamlBytes;
  if (text.length > limit) throw new Refusal(`larger than ${limit >> 20} MiB`, 1, 1);
  // Counted here, they cost nothing; as tokens of a YAML text, seconds.
  let lines = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
    if (++lines > LIMITS.lines) throw new Refusal(`more than ${LIMITS.lines} lines`, lines, 1);
  }
  const binary = text.indexOf("\0");
  if (binary >= 0) {
    const before = text.slice(0, binary).split("\n");
    throw new Refusal("not a text: it has a zero byte", before.length, before.at(-1)!.length + 1);
  }
}

// -------------------------------------------------------------------------------------------------- YAML

function readYaml(text: string): Tree {
  const lines = new LineCounter();
  const place = (offset: number) => {
    const { line, col } = lines.linePos(Math.min(offset, text.length));
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const refuse = (message: string, offset: number) => {
    const { line, column } = place(offset);
    return new Refusal(message, line, column);
  };
  const tokens = lexYaml(text, lines, refuse);
  const composer = new Composer({
    schema: "core",
    intAsBigInt: true,
    // The library compares each key with every other; `Expander` looks them up.
    uniqueKeys: false,
    merge: false,
    strict: true,
    prettyErrors: false,
  });
  const [document] = [...composer.compose(tokens, true, text.length)] as (YamlDocument.Parsed | undefined)[];
  if (!document) throw new Refusal("empty", 1, 1);
  if (document.errors.length > 0) {
    throw new AggregateError(
      document.errors.slice(0, MAX_PROBLEMS).map((e) => refuse(lowerFirst(e.message), e.pos[0])),
    );
  }
  if (document.contents === null) throw new Refusal("empty", 1, 1);
  return expandYaml(document.contents, { place, refuse });
}

/** The tokens of the one document, with nesting and number limited while they are read. */
function lexYaml(text: string, lines: LineCounter, refuse: (message: string, offset: number) => Refusal): CST.Token[] {
  const parser = new Parser(lines.addNewLine), tokens: CST.Token[] = [];
  let count = 0, documents = 0, errors = 0;
  const keep = (token: CST.Token) => {
    tokens.push(token);
    if (token.type === "document" && ++documents > 1) throw refuse("more than one document", token.offset);
    if (token.type === "error" && ++errors > MAX_PROBLEMS) throw refuse(lowerFirst(token.message), token.offset);
  };
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    if (++count > LIMITS.tokens) throw refuse(`more than ${LIMITS.tokens} tokens`, parser.offset);
    for (const token of parser.next(lexeme)) keep(token);
    // A mapping in a list is up to three entries of the stack.
    if (parser.stack.length > 3 * LIMITS.depth + 3) {
      throw refuse(`nested deeper than ${LIMITS.depth} levels`, parser.offset);
    }
  }
  for (const token of parser.end()) keep(token);
  return tokens;
}

interface YamlPlaces {
  place(offset: number): { line: number; column: number };
  refuse(message: string, offset: number): Refusal;
}

/** The tree of a node. An alias is what its anchor stands for, the same object, counted anew each time. */
function expandYaml(contents: Node, { place, refuse }: YamlPlaces): Tree {
  const anchors = new Map<string, { tree: Tree; size: number; depth: number }>();
  let total = 0;

  const expand = (node: Node, depth: number): { tree: Tree; size: number; depth: number } => {
    const offset = node.range?.[0] ?? 0;
    if (depth > LIMITS.depth) throw refuse(`nested deeper than ${LIMITS.depth} levels`, offset);
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      if (!target) throw refuse(`alias *${node.source} has no anchor before it`, offset);
      spend(target.size, offset);
      if (depth + target.depth > LIMITS.depth) throw refuse(`nested deeper than ${LIMITS.depth} levels`, offset);
      return target;
    }
    const before = total;
    spend(1, offset);
    let tree: Tree, deepest = 0;
    const part = (child: Node) => {
      const expanded = expand(child, depth + 1);
      deepest = Math.max(deepest, expanded.depth + 1);
      return expanded.tree;
    };
    if (isMap<Node, Node | null>(node)) {
      const members = new Map<string, Member>();
      for (const { key, value } of node.items) {
        const at = place(key.range?.[0] ?? offset), name = keyName(key, offset);
        const twin = members.get(name);
        if (twin) {
          throw refuse(
            `key "${name}" is here for the second time: the first is on line ${twin.line}`,
            key.range?.[0] ?? offset,
          );
        }
        members.set(name, { ...at, value: value ? part(value) : { kind: "scalar", value: null, ...at } });
      }
      tree = { kind: "mapping", members, ...place(offset) };
    } else if (isSeq<Node | null>(node)) {
      const at = place(offset);
      tree = {
        kind: "list",
        values: node.items.map((item) => item ? part(item) : { kind: "scalar", value: null, ...at }),
        ...at,
      };
    } else if (isScalar(node)) {
      tree = { kind: "scalar", value: node.value as Scalar["value"], ...place(offset) };
    } else {
      throw refuse("not a value", offset);
    }
    if (node.tag && node.tag !== "!" && !TAGS.includes(node.tag.replace("tag:yaml.org,2002:", ""))) {
      throw refuse(`tag ${node.tag}: only plain values are read`, offset);
    }
    const expanded = { tree, size: total - before, depth: deepest };
    if (node.anchor) anchors.set(node.anchor, expanded);
    return expanded;
  };

  const spend = (values: number, offset: number) => {
    total += values;
    if (total > LIMITS.values) throw refuse(`more than ${LIMITS.values} values, aliases replaced`, offset);
  };

  const keyName = (key: Node, offset: number): string => {
    const at = key.range?.[0] ?? offset;
    if (!isScalar(key)) throw refuse("a key that is not a plain value", at);
    const name = typeof key.value === "string" ? key.value : key.source ?? String(key.value);
    if (name.length > LIMITS.key) throw refuse(`a key of more than ${LIMITS.key} characters`, at);
    if (name === "<<") throw refuse('merge key "<<": write out what it stands for', at);
    return name;
  };

  return expand(contents, 0).tree;
}

// -------------------------------------------------------------------------------------------------- TOML

function readToml(text: string): Tree {
  let program: AST.TOMLProgram;
  try {
    program = parseTOML(text);
  } catch (error) {
    if (error instanceof ParseError) throw new Refusal(lowerFirst(error.message), error.lineNumber, error.column + 1);
    // The parser calls itself for each level, and spreads a string's characters over the stack.
    if (error instanceof RangeError) {
      throw new Refusal("nested too deep, or a string of more than 100,000 characters", 1, 1);
    }
    throw error;
  }
  const root: Mapping = { kind: "mapping", members: new Map(), line: 1, column: 1 };
  let values = 0;
  for (const entry of program.body[0].body) {
    if (entry.type === "TOMLKeyValue") setToml(root, entry, 1);
    else openTable(entry);
  }
  return root;

  /** A `[table]` or `[[table]]` with what is under it. */
  function openTable(table: AST.TOMLTable): void {
    const names = table.key.keys, last = names.length - 1;
    checkDepth(names.length, names[0]!);
    let parent = root;
    for (const name of names.slice(0, last)) parent = innermost(parent, name);
    const key = names[last]!, at = tomlPlace(key);
    let target: Mapping;
    if (table.kind === "array") {
      const made: Mapping = { kind: "mapping", members: new Map(), ...at };
      const present = parent.members.get(tomlName(key))?.value;
      if (present?.kind === "list") present.values.push(made);
      else parent.members.set(tomlName(key), { ...at, value: { kind: "list", values: [made], ...at } });
      target = made;
    } else {
      target = innermost(parent, key);
    }
    for (const entry of table.body) setToml(target, entry, names.length + 1);
  }

  /** The mapping under a key, made if absent; of a list of tables its last. */
  function innermost(parent: Mapping, key: AST.TOMLBare | AST.TOMLQuoted): Mapping {
    const at = tomlPlace(key), present = parent.members.get(tomlName(key))?.value;
    const value = present?.kind === "list" ? present.values.at(-1) : present;
    if (value?.kind === "mapping") return value;
    const made: Mapping = { kind: "mapping", members: new Map(), ...at };
    parent.members.set(tomlName(key), { ...at, value: made });
    return made;
  }

  function setToml(parent: Mapping, entry: AST.TOMLKeyValue, depth: number): void {
    const names = entry.key.keys;
    checkDepth(depth + names.length, names[0]!);
    for (const name of names.slice(0, -1)) parent = innermost(parent, name);
    const key = names.at(-1)!;
    parent.members.set(tomlName(key), { ...tomlPlace(key), value: tomlTree(entry.value, depth + names.length) });
  }

  function tomlTree(node: AST.TOMLContentNode, depth: number): Tree {
    checkDepth(depth, node);
    const at = tomlPlace(node);
    if (++values > LIMITS.values) throw new Refusal(`more than ${LIMITS.values} values`, at.line, at.column);
    if (node.type === "TOMLArray") {
      return { kind: "list", values: node.elements.map((e) => tomlTree(e, depth + 1)), ...at };
    }
    if (node.type === "TOMLInlineTable") {
      const table: Mapping = { kind: "mapping", members: new Map(), ...at };
      for (const entry of node.body) setToml(table, entry, depth);
      return table;
    }
    if (node.kind === "integer") return { kind: "scalar", value: node.bigint, ...at };
    if (node.kind === "string" || node.kind === "boolean" || node.kind === "float") {
      return { kind: "scalar", value: node.value, ...at };
    }
    return { kind: "scalar", value: node.datetime, ...at };
  }
}

function checkDepth(depth: number, node: AST.TOMLNode): void {
  const { line, column } = tomlPlace(node);
  if (depth > LIMITS.depth) throw new Refusal(`nested deeper than ${LIMITS.depth} levels`, line, column);
}

function tomlPlace(node: AST.TOMLNode): { line: number; column: number } {
  return { line: node.loc.start.line, column: node.loc.start.column + 1 };
}

function tomlName(key: AST.TOMLBare | AST.TOMLQuoted): string {
  return key.type === "TOMLBare" ? key.name : key.value;
}

// -------------------------------------------------------------------------------------------------- words

/** The libraries begin their messages with a capital; ours follow a colon. */
function lowerFirst(message: string): string {
  const line = message.split("\n", 1)[0]!.slice(0, 300);
  return /^[A-Z][a-z]/.test(line) ? line[0]!.toLowerCase() + line.slice(1) : line;
}

/** A place as editors and terminals take it. */
export function formatPlace({ path, line, column }: Place): string {
  return `${path}:${line}:${column}`;
}
