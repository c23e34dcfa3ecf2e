/**
 * STIX 2.1 (OASIS): a bundle of an identity and an indicator for each entry.
 *
 * Identifiers are version 5 UUIDs of the content, so that the same rules give the same file.
 */
import { createHash } from "node:crypto";
import { type Entry, fit } from "./fit.ts";
import { type Format, jsonText, readme, type Rendered } from "./format.ts";
import { utc, visibleText } from "./texts.ts";

/** Names of ours in the sense of RFC 9562 section 5.5: made once, at random. */
const NAMESPACE = "8f3a5c0e-6f0b-4d3c-9a52-1d1f6f0c7a21";

export const stix: Format = {
  name: "stix",
  title: "STIX 2.1 (bundle of indicators)",
  can: { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: true, shadow: false },
  render(plan, options): Rendered {
    const { entries, losses } = fit(plan, stix.can);
    const from = plan.set.generated_at_unix_sec, made = utc(from);
    const author = `identity--${uuidOf("identity ibsr")}`;
    const common = { spec_version: "2.1", created: made, modified: made };
    const objects = [
      { type: "identity", id: author, ...common, name: "ibsr", identity_class: "system" },
      ...entries.map((entry) => {
        const pattern = patternOf(entry), [first] = entry.rules;
        const name = `IBSR candidate ${entry.text}`;
        const until = entry.durationSec === null ? {} : { valid_until: utc(Math.floor(from) + entry.durationSec) };
        return {
          type: "indicator",
          id: `indicator--${uuidOf(`${made} ${entry.durationSec} ${pattern}`)}`,
          ...common,
          created_by_ref: author,
          name,
          description: visibleText(
            `A human must review this before use. ${entry.rules.map(({ id }) => id).join(" ")}: ${first?.reason ?? ""}`,
            1000,
          ),
          indicator_types: ["anomalous-activity"],
          pattern,
          pattern_type: "stix",
          valid_from: made,
          ...until,
        };
      }),
    ];
    const bundle = { type: "bundle", id: `bundle--${uuidOf(JSON.stringify(objects))}`, objects };
    return {
      files: [
        { name: "ibsr.stix.json", text: jsonText(bundle) },
        readme(plan, options, {
          format: stix,
          entries,
          losses,
          apply: [
            "import the bundle where indicators are kept; what acts on them is there",
            "valid_from is the report's time and valid_until the block's length later: both may be past by now",
          ],
          undo: ["revoke or delete the indicators by their ids: they are the same in every run on the same rules"],
        }),
      ],
      losses,
      entries: entries.length,
    };
  },
};

/** What an indicator matches: STIX 2.1, section 9. */
function patternOf({ text, v6, ports }: Entry): string {
  const type = v6 ? "ipv6-addr" : "ipv4-addr";
  const singles = ports?.filter(({ low, high }) => low === high).map(({ low }) => low) ?? [];
  const parts = [
    ...singles.length > 0 ? [`network-traffic:dst_port IN (${singles.join(", ")})`] : [],
    ...ports?.filter(({ low, high }) => low < high).map(({ low, high }) =>
      `(network-traffic:dst_port >= ${low} AND network-traffic:dst_port <= ${high})`
    ) ?? [],
  ];
  return `[network-traffic:src_ref.type = '${type}' AND network-traffic:src_ref.value ` +
    `${text.includes("/") ? "ISSUBSET" : "="} '${text}' AND network-traffic:protocols[*] = 'tcp'` +
    `${parts.length === 0 ? "" : ` AND ${parts.length === 1 ? parts[0] : `(${parts.join(" OR ")})`}`}]`;
}

/** A version 5 UUID of a text (RFC 9562 section 5.5). */
export function uuidOf(name: string, namespace: string = NAMESPACE): string {
  const hash = createHash("sha1").update(Uint8Array.fromHex(namespace.replaceAll("-", ""))).update(name).digest();
  hash[6] = hash[6]! & 0x0f | 0x50;
  hash[8] = hash[8]! & 0x3f | 0x80;
  const hex = hash.toString("hex", 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
