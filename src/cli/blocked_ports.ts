/**
 * Ports that fetch() sends no request to, whatever listens there: an S3 server on one of them can't be reached.
 *
 * @see https://fetch.spec.whatwg.org/#port-blocking
 */
import { parsePorts } from "../address.ts";

const BLOCKED_PORTS = new Set(parsePorts(
  "1,7,9,11,13,15,17,19-23,25,37,42,43,53,69,77,79,87,95,101-104,109-111,113,115,117,119,123,135,137,139,143," +
    "161,179,389,427,465,512-515,526,530-532,540,548,554,556,563,587,601,636,989,990,993,995,1719,1720,1723,2049," +
    "3659,4045,4190,5060,5061,6000,6566,6665-6669,6679,6697,10080",
) as number[]);

/** What is wrong with a URL's port, as what was expected; undefined if nothing is. */
export function expectedPort(url: URL): string | undefined {
  return BLOCKED_PORTS.has(Number(url.port))
    ? `a port other than ${url.port}: HTTP clients block it, as one of another protocol`
    : undefined;
}
