/**
 * `ibsr fleet schema`: prints SQL.
 */
import { IbsrError } from "../errors.ts";
import { describeSchema, type Location } from "../fleet/schema.ts";
import { parseS3Url } from "../s3/read.ts";
import { urlOf } from "../s3/request.ts";
import type { Context } from "./command.ts";
import type { Values } from "./options.ts";
import type { FLEET_SCHEMA_OPTIONS } from "./tables/fleet_schema.ts";

/** `ibsr fleet schema`: returns the exit code. */
export function runFleetSchema(values: Values<typeof FLEET_SCHEMA_OPTIONS>, { print }: Context): number {
  const { dialect } = values, location = locate(values);
  if (!("bucket" in location) && (dialect === "athena" || dialect === "trino")) {
    throw new IbsrError("usage", `Cannot write a schema for ${dialect} of "${values.in}": it reads from S3 only`, {
      hint: "--in s3://BUCKET/PREFIX/",
    });
  }
  print(describeSchema(dialect, location, { examples: values.examples }));
  return 0;
}

function locate(values: Values<typeof FLEET_SCHEMA_OPTIONS>): Location {
  const url = parseS3Url(values.in);
  if (!url) return { folder: values.in.replace(/(?<=.)\/+$/, "") };
  const endpoint = values["s3-endpoint"], region = values["s3-region"] ?? "us-east-1";
  const place = { bucket: url.bucket, region, endpoint, pathStyle: values["s3-path-style"] };
  return { ...url, url: urlOf(place, "") + url.prefix, region, endpoint };
}
