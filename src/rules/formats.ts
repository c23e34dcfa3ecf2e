/**
 * All formats that rules are written in. A format is one file and one line here.
 */
import { awsNacl, awsWaf } from "./aws.ts";
import { cilium } from "./cilium.ts";
import { crowdsecCsv, crowdsecJson } from "./crowdsec.ts";
import { ebpfsentinel } from "./ebpfsentinel.ts";
import { fail2ban } from "./fail2ban.ts";
import type { Format } from "./format.ts";
import { ipset } from "./ipset.ts";
import { ironpost } from "./ironpost.ts";
import { csv, plain } from "./lists.ts";
import { nftables, nftablesJson } from "./nftables.ts";
import { stix } from "./stix.ts";
import { suricata } from "./suricata.ts";
import { xdpFilter } from "./xdp_filter.ts";

/** The formats, in the order of `ibsr rules --list-formats`. */
export const FORMATS: readonly Format[] = [
  ...[nftables, nftablesJson, ipset, xdpFilter, suricata, fail2ban, crowdsecJson, crowdsecCsv],
  ...[ebpfsentinel, ironpost, cilium, awsWaf, awsNacl, stix, plain, csv],
];
