/**
 * Amazon: IP sets of WAF with the rule that uses them, and entries of a network ACL. Inputs of the `aws` program.
 *
 * Names and limits are those of the service's API: WAFv2 CreateIPSet (prefixes always written, no /0, 10,000 addresses a
 * set, IPv4 and IPv6 apart), EC2 CreateNetworkAclEntry (one range of ports an entry, 20 entries a direction by default).
 */
import { formatNumberOf } from "../words.ts";
import { chunk, type Entry, fit, type Loss } from "./fit.ts";
import { fileName, type Format, jsonText, readme, type Rendered } from "./format.ts";
import { policyTag } from "./texts.ts";

const MAX_ADDRESSES = 10_000, MAX_ACL_ENTRIES = 20;

function withLength({ text, v6 }: Entry): string {
  return text.includes("/") ? text : `${text}/${v6 ? 128 : 32}`;
}

export const awsWaf: Format = {
  name: "aws-waf",
  title: "AWS WAF (IP sets and a rule)",
  can: { v6: true, cidr: true, tcpOnly: false, ports: false, expiry: false, shadow: true },
  render(plan, options): Rendered {
    const { entries, losses: lost } = fit(plan, awsWaf.can);
    const losses: Loss[] = [...lost, {
      kind: "narrower",
      text: "it sees HTTP(S) requests of what the web ACL protects, and no other connections",
    }];
    const sets = [false, true].flatMap((v6) =>
      chunk(entries.filter((entry) => entry.v6 === v6), MAX_ADDRESSES).map((part, i) => ({
        Name: `ibsr-candidates-${v6 ? "v6" : "v4"}-${i + 1}`,
        Scope: "REGIONAL",
        Description: `IBSR candidates of policy ${policyTag(plan.set, 16)} - review before use`,
        IPAddressVersion: v6 ? "IPV6" : "IPV4",
        Addresses: part.map(withLength),
      }))
    );
    const statements = sets.map(({ Name }) => ({
      IPSetReferenceStatement: { ARN: `arn:aws:wafv2:REGION:ACCOUNT:regional/ipset/${Name}/ID` },
    }));
    const rule = {
      Name: options.shadow ? "ibsr-candidates-count" : "ibsr-candidates",
      Priority: 0,
      Statement: statements.length > 1 ? { OrStatement: { Statements: statements } } : statements[0],
      Action: options.shadow ? { Count: {} } : { Block: {} },
      VisibilityConfig: {
        SampledRequestsEnabled: true,
        CloudWatchMetricsEnabled: true,
        MetricName: options.shadow ? "ibsr-candidates-count" : "ibsr-candidates",
      },
    };
    const setFiles = sets.map((set) => ({
      name: fileName(`aws-waf.${set.Name.slice(16)}.json`, options),
      text: jsonText(set),
    }));
    const ruleFile = fileName("aws-waf.rule.json", options);
    return {
      files: [
        ...setFiles,
        ...sets.length > 0 ? [{ name: ruleFile, text: jsonText(rule) }] : [],
        readme(plan, options, {
          format: awsWaf,
          entries,
          losses,
          apply: [
            ...setFiles.map(({ name }) => `aws wafv2 create-ip-set --cli-input-json file://${name}`),
            `put the sets' ARNs into ${ruleFile}, and that into the web ACL's rules (update-web-acl)`,
          ],
          undo: ["take the rule out of the web ACL, then delete the sets (aws wafv2 delete-ip-set)"],
        }),
      ],
      losses,
      entries: entries.length,
    };
  },
};

export const awsNacl: Format = {
  name: "aws-nacl",
  title: "AWS network ACL entries",
  can: { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: false, shadow: false },
  render(plan, options): Rendered {
    const { entries: all, losses: lost } = fit(plan, awsNacl.can), losses: Loss[] = [...lost];
    const needed = (entry: Entry) => entry.ports?.length ?? 1;
    const chosen = new Set<Entry>();
    let used = 0;
    for (const entry of all.toSorted((a, b) => weigh(b) - weigh(a))) {
      if (used + needed(entry) > MAX_ACL_ENTRIES) continue;
      chosen.add(entry);
      used += needed(entry);
    }
    const entries = all.filter((entry) => chosen.has(entry));
    if (entries.length < all.length) {
      losses.push({
        kind: "narrower",
        text:
          `${formatNumberOf(all.length - entries.length, "entry", "entries")} left out: a network ACL has room for ` +
          `${MAX_ACL_ENTRIES} by default; those that would block most packets are in here`,
      });
    }
    const inputs = entries.flatMap((entry) =>
      (entry.ports ?? [{ low: 0, high: 65535 }]).map(({ low, high }) => ({ entry, low, high }))
    ).map(({ entry, low, high }, i) => ({
      NetworkAclId: "acl-REPLACE",
      RuleNumber: i + 1,
      Protocol: "6",
      RuleAction: "deny",
      Egress: false,
      [entry.v6 ? "Ipv6CidrBlock" : "CidrBlock"]: withLength(entry),
      PortRange: { From: low, To: high },
    }));
    const file = "ibsr.aws-nacl.json";
    return {
      files: [
        { name: file, text: jsonText(inputs) },
        readme(plan, options, {
          format: awsNacl,
          entries,
          losses,
          apply: [
            `put the ACL's id for acl-REPLACE, and see that the rule numbers 1 to ${
              Math.max(inputs.length, 1)
            } are free`,
            `for i in $(seq 0 ${Math.max(inputs.length - 1, 0)}); do aws ec2 create-network-acl-entry --dry-run ` +
            `--cli-input-json "$(jq ".[$i]" ${file})"; done    then without --dry-run`,
          ],
          undo: [
            `for n in $(jq ".[].RuleNumber" ${file}); do aws ec2 delete-network-acl-entry --network-acl-id ACL ` +
            "--ingress --rule-number $n; done",
          ],
        }),
      ],
      losses,
      entries: entries.length,
    };
  },
};

/** Packets that an entry would block, at most. */
function weigh({ rules }: Entry): number {
  return rules.reduce((sum, rule) => sum + rule.would_block.packets.upper, 0);
}
