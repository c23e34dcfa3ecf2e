/**
 * YAML and TOML, read by Python's readers, against what the engines' documents say of their files: eBPFsentinel's
 * firewall section (both dialects), Ironpost's filter rules, and the definition of CiliumClusterwideNetworkPolicy.
 */
import assert from "node:assert/strict";
import { Ajv2020 } from "ajv";
import { parsePrefix } from "../../src/prefix.ts";
import { testWith } from "../needs.ts";
import { inside, render, renderTo, stemOf, textOf } from "./files.ts";
import { manyRules, MIXED, setOf, situations } from "./sets.ts";

/** Reads the documents of a YAML or TOML file as Python does, without any type but JSON's. */
async function readDocuments(folder: string, name: string): Promise<unknown[]> {
  const reader = name.endsWith(".toml")
    ? `import sys, json, tomllib; print(json.dumps([tomllib.load(open(sys.argv[1], "rb"))]))`
    : `import sys, json, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))`;
  const { stdout } = await inside(folder, `/usr/bin/python3 -c '${reader}' ${name}`);
  return JSON.parse(stdout);
}

/** The documents of a format's file for a set, all of them valid. */
async function validDocuments(
  format: string,
  { file, schema, set, shadow, dialect }: {
    file: string;
    schema: object;
    set: Parameters<typeof setOf>[0] | ReturnType<typeof setOf>;
    shadow?: boolean;
    dialect?: "code" | "seed";
  },
): Promise<unknown[]> {
  const folder = await renderTo(format, Array.isArray(set) ? setOf(set) : set as ReturnType<typeof setOf>, {
    ...shadow === undefined ? {} : { shadow },
    ...dialect === undefined ? {} : { dialect },
  });
  try {
    const documents = await readDocuments(folder, file), validate = new Ajv2020({ allErrors: true }).compile(schema);
    for (const document of documents) {
      assert.ok(validate(document), `${format}: ${JSON.stringify(validate.errors?.slice(0, 3))}`);
    }
    return documents;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const CIDR4 = "(\\d{1,3}\\.){3}\\d{1,3}/\\d{1,2}", CIDR6 = "[0-9a-f:]*:[0-9a-f:.]*/\\d{1,3}";

const EBPFSENTINEL = {
  type: "object",
  required: ["agent", "firewall"],
  additionalProperties: false,
  properties: {
    agent: {
      type: "object",
      additionalProperties: false,
      required: ["interfaces"],
      properties: { interfaces: { type: "array", minItems: 1, items: { type: "string" } } },
    },
    firewall: {
      type: "object",
      additionalProperties: false,
      required: ["enabled", "mode", "default_policy", "rules"],
      properties: {
        enabled: { const: true },
        mode: { enum: ["alert", "block"] },
        default_policy: { const: "pass" },
        rules: {
          type: "array",
          maxItems: 4096,
          items: {
            type: "object",
            additionalProperties: false,
            required: ["id", "priority", "action"],
            properties: {
              id: { type: "string", pattern: "^[A-Za-z0-9_-]+$" },
              priority: { type: "integer", minimum: 1, maximum: 4294967295 },
              action: { const: "deny" },
              protocol: { const: "tcp" },
              src_ip: { type: "string", pattern: `^(${CIDR4}|${CIDR6})$` },
              dst_port: {
                oneOf: [
                  { type: "integer", minimum: 0, maximum: 65535 },
                  { type: "string", pattern: "^\\d{1,5}-\\d{1,5}$" },
                ],
              },
            },
          },
        },
      },
    },
  },
};

testWith(
  "validators",
  "render() of eBPFsentinel fits its schema in both dialects, and has unique ids and priorities",
  async () => {
    for (const set of [...Object.values(situations()), setOf(manyRules(6000))]) {
      for (const shadow of [false, true]) {
        for (const dialect of ["code", "seed"] as const) {
          const [document] = await validDocuments("ebpfsentinel", {
            ...{ file: `${stemOf(shadow)}.ebpfsentinel.yaml`, schema: EBPFSENTINEL },
            ...{ set, shadow, dialect },
          }) as [{ firewall: { mode: string; rules: { id: string; priority: number }[] } }];
          const { mode, rules } = document.firewall;
          assert.equal(mode, shadow ? "alert" : "block");
          assert.equal(new Set(rules.map(({ id }) => id)).size, rules.length);
          assert.equal(new Set(rules.map(({ priority }) => priority)).size, rules.length);
        }
      }
    }
    assert.ok(
      textOf(render("ebpfsentinel", setOf([]), { dialect: "seed" }), "ibsr.ebpfsentinel.yaml").includes(
        'dialect "seed"',
      ),
    );
  },
);

const IRONPOST = {
  type: "object",
  required: ["rules"],
  additionalProperties: false,
  properties: {
    rules: {
      type: "array",
      maxItems: 10_000,
      items: {
        type: "object",
        required: ["id", "src_ip", "action", "description"],
        additionalProperties: false,
        properties: {
          id: { type: "string", minLength: 1, maxLength: 256 },
          src_ip: { type: "string", pattern: "^(\\d{1,3}\\.){3}\\d{1,3}$" },
          action: { enum: ["block", "monitor"] },
          description: { type: "string", minLength: 1, maxLength: 1024 },
        },
      },
    },
  },
};

testWith("validators", "render() of Ironpost fits its schema, each address once", async () => {
  for (const set of Object.values(situations())) {
    for (const shadow of [false, true]) {
      const [{ rules }] = await validDocuments("ironpost", {
        file: `${stemOf(shadow)}.ironpost.toml`,
        schema: IRONPOST,
        set,
        shadow,
      }) as [
        { rules: { id: string; src_ip: string; action: string }[] },
      ];
      assert.equal(new Set(rules.map(({ src_ip }) => src_ip)).size, rules.length);
      assert.equal(new Set(rules.map(({ id }) => id)).size, rules.length);
      for (const { action } of rules) assert.equal(action, shadow ? "monitor" : "block");
    }
  }
});

const CILIUM = {
  type: "object",
  required: ["apiVersion", "kind", "metadata", "spec"],
  additionalProperties: false,
  properties: {
    apiVersion: { const: "cilium.io/v2" },
    kind: { const: "CiliumClusterwideNetworkPolicy" },
    metadata: {
      type: "object",
      required: ["name"],
      additionalProperties: false,
      properties: { name: { type: "string", pattern: "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", maxLength: 253 } },
    },
    spec: {
      type: "object",
      required: ["nodeSelector", "enableDefaultDeny", "ingressDeny"],
      additionalProperties: false,
      properties: {
        description: { type: "string" },
        nodeSelector: {
          type: "object",
          required: ["matchLabels"],
          additionalProperties: false,
          properties: { matchLabels: { type: "object", minProperties: 1, additionalProperties: { type: "string" } } },
        },
        enableDefaultDeny: { const: { ingress: false } },
        ingressDeny: {
          type: "array",
          minItems: 1,
          items: {
            type: "object",
            required: ["fromCIDRSet", "toPorts"],
            additionalProperties: false,
            properties: {
              fromCIDRSet: {
                type: "array",
                minItems: 1,
                items: {
                  type: "object",
                  required: ["cidr"],
                  additionalProperties: false,
                  properties: { cidr: { type: "string", pattern: `^(${CIDR4}|${CIDR6})$` } },
                },
              },
              toPorts: {
                type: "array",
                maxItems: 1,
                minItems: 1,
                items: {
                  type: "object",
                  required: ["ports"],
                  additionalProperties: false,
                  properties: {
                    ports: {
                      type: "array",
                      minItems: 1,
                      maxItems: 40,
                      items: {
                        type: "object",
                        required: ["port", "protocol"],
                        additionalProperties: false,
                        properties: {
                          port: { type: "string", pattern: "^[1-9]\\d{0,4}$" },
                          endPort: { type: "integer", minimum: 1, maximum: 65535 },
                          protocol: { const: "TCP" },
                        },
                      },
                    },
                  },
                },
              },
            },
          },
        },
      },
    },
  },
};

testWith(
  "validators",
  "render() of Cilium fits the definition, denies what the rules say and nothing by default",
  async () => {
    for (const [situation, set] of [...Object.entries(situations()), ["large", setOf(manyRules(20_000))] as const]) {
      const documents = await validDocuments("cilium", { file: "ibsr.cilium.yaml", schema: CILIUM, set });
      assert.equal(documents.length > 0, situation !== "empty");
      const cidrs = JSON.stringify(documents).match(/"cidr": ?"[^"]+"/g) ?? [];
      for (const cidr of cidrs) assert.ok(parsePrefix(JSON.parse(cidr.slice(cidr.indexOf(":") + 1))), cidr);
      if (situation === "large") assert.ok(documents.length > 1, "several policies");
    }
    const [document] = await validDocuments("cilium", {
      file: "ibsr.cilium.yaml",
      schema: CILIUM,
      set: setOf(MIXED),
    }) as [
      { spec: { ingressDeny: { fromCIDRSet: { cidr: string }[]; toPorts: { ports: unknown[] }[] }[] } },
    ];
    const ports = Object.fromEntries(
      document.spec.ingressDeny.flatMap(({ fromCIDRSet, toPorts }) =>
        fromCIDRSet.map(({ cidr }) => [cidr, toPorts[0]!.ports])
      ),
    );
    const protocol = "TCP";
    assert.deepEqual(ports["192.0.2.9/32"], [
      { port: "22", protocol },
      { port: "80", protocol },
      { port: "8080", endPort: 8899, protocol },
    ]);
    assert.deepEqual(ports["192.0.2.7/32"], [{ port: "1", endPort: 65535, protocol }]);
  },
);
