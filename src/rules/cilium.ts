/**
 * Cilium: cluster-wide network policies that deny networks on the hosts chosen by a label.
 *
 * `enableDefaultDeny` must be off: without it a policy that only denies cuts everything else too. The label is one of
 * the operator's own, because Cilium strips those of Kubernetes from host endpoints.
 */
import { byPorts, chunk, type Entry, fit } from "./fit.ts";
import { type Format, type Rendered, tell } from "./format.ts";

/** Ports of a rule (maxItems of the definition), networks of a rule, and rules of a policy: objects stay under 1 MiB. */
const MAX_PORTS = 40, MAX_CIDRS = 1000, MAX_RULES = 10;

const LABEL = "ibsr-candidates";

export const cilium: Format = {
  name: "cilium",
  title: "Cilium (CiliumClusterwideNetworkPolicy)",
  can: { v6: true, cidr: true, tcpOnly: true, ports: true, expiry: false, shadow: false },
  render(plan, options): Rendered {
    const { entries, losses } = fit(plan, cilium.can);
    const rules = byPorts(entries).flatMap((group) =>
      chunk(group.ports ?? [{ low: 1, high: 65535 }], MAX_PORTS).flatMap((ports) =>
        chunk(group.entries, MAX_CIDRS).map((part) => ruleLines(part, ports))
      )
    );
    const header = tell(plan, options, {
      format: cilium,
      entries,
      losses,
      apply: [
        "needs Cilium 1.16 or later with the host firewall (hostFirewall.enabled=true)",
        `kubectl label node NODE ${LABEL}=enforce    for each node to protect`,
        "kubectl apply --dry-run=server -f ibsr.cilium.yaml && kubectl apply -f ibsr.cilium.yaml",
        "try it first with cilium's policy audit mode on the host endpoint",
      ],
      undo: ["kubectl delete -f ibsr.cilium.yaml"],
    });
    const policies = chunk(rules, MAX_RULES).map((part, i) => [
      "---",
      "apiVersion: cilium.io/v2",
      "kind: CiliumClusterwideNetworkPolicy",
      "metadata:",
      `  name: ibsr-candidates-${i + 1}`,
      "spec:",
      "  description: IBSR candidates, to be reviewed by a human",
      "  nodeSelector:",
      "    matchLabels:",
      `      ${LABEL}: enforce`,
      "  enableDefaultDeny:",
      "    ingress: false",
      "  ingressDeny:",
      ...part.flat(),
    ]);
    return {
      files: [{ name: "ibsr.cilium.yaml", text: header + policies.flat().map((line) => line + "\n").join("") }],
      losses,
      entries: entries.length,
    };
  },
};

function ruleLines(entries: readonly Entry[], ports: readonly { low: number; high: number }[]): string[] {
  return [
    "    - fromCIDRSet:",
    ...entries.map(({ text, v6 }) =>
      `        - {cidr: ${JSON.stringify(text.includes("/") ? text : `${text}/${v6 ? 128 : 32}`)}}`
    ),
    "      toPorts:",
    "        - ports:",
    ...ports.map(({ low, high }) =>
      `            - {port: "${Math.max(low, 1)}", ${low === high ? "" : `endPort: ${high}, `}protocol: TCP}`
    ),
  ];
}
