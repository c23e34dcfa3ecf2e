/**
 * The little XML that S3 and STS speak: texts of elements out of answers, texts into requests. Pure.
 *
 * Their answers are flat and known; a document is never built. Entities beyond the five of XML and numbers stay as they
 * are, nothing is fetched or expanded.
 */

/** The text of the first element of that name; undefined if there is none. */
export function textOf(xml: string, name: string): string | undefined {
  const text = elementsOf(xml, name)[0];
  return text === undefined ? undefined : unescapeXml(text);
}

/** What stands in each element of that name, which has none of the same name in it. */
export function elementsOf(xml: string, name: string): string[] {
  const found: string[] = [], end = `</${name}>`;
  for (const { index, 0: opening } of xml.matchAll(new RegExp(`<${name}(?:\\s[^<>]*)?(/?)>`, "g"))) {
    if (opening.endsWith("/>")) {
      found.push("");
      continue;
    }
    const from = index + opening.length, to = xml.indexOf(end, from);
    if (to >= 0) found.push(xml.slice(from, to));
  }
  return found;
}

const ENTITIES: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replaceAll(/&(?:#(\d{1,7})|#x([\da-fA-F]{1,6})|(\w+));/g, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name] ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/** Text as the content of an element. */
export function escapeXml(text: string): string {
  return text.replaceAll(/[<>&"]/g, (c) => `&${Object.keys(ENTITIES).find((name) => ENTITIES[name] === c)};`);
}
