/**
 * What `ibsr fleet schema` takes.
 */
import { COMMON, defineCommand } from "../command.ts";
import { choiceKind, flag, option, textKind } from "../options.ts";
import { S3_SOURCE_OPTIONS } from "./report.ts";

export const FLEET_SCHEMA_OPTIONS = {
  dialect: option(choiceKind("DIALECT", ["clickhouse", "duckdb", "athena", "trino"]), {
    group: "Schema",
    default: "clickhouse",
    help: "Whose SQL.",
  }),
  in: option(textKind("PLACE"), {
    group: "Schema",
    short: "i",
    default: "s3://BUCKET/PREFIX/",
    help: "Where the snapshots are: s3://BUCKET/PREFIX, or a folder (clickhouse, duckdb).",
  }),
  "s3-region": S3_SOURCE_OPTIONS["s3-region"],
  "s3-endpoint": S3_SOURCE_OPTIONS["s3-endpoint"],
  "s3-path-style": S3_SOURCE_OPTIONS["s3-path-style"],
  examples: option(flag, { group: "Schema", help: "Questions that an operator may have, as statements, too." }),
  ...COMMON,
};

export const fleetSchemaCommand = defineCommand({
  name: "fleet schema",
  summary: "SQL to query snapshots where they lie",
  description:
    "Prints tables and views over the objects of ibsr export s3 --layout hive, for an operator's own ClickHouse, DuckDB, " +
    "Athena or Trino. Nothing is run, and no key is in it.",
  examples: [
    ["ibsr fleet schema --in s3://evidence/ibsr/ | clickhouse-client -mn", "Views in an own ClickHouse."],
    ["ibsr fleet schema --dialect duckdb --in /srv/evidence --examples", "Views for DuckDB, and what to ask them."],
  ],
  permissions: [],
  options: FLEET_SCHEMA_OPTIONS,
  load: async () => (await import("../fleet_schema.ts")).runFleetSchema,
});
