/**
 * How a page of a report begins: a file that needs nothing else. The style is in it, and the policy in its head forbids
 * whatever else a name might smuggle in. Pure.
 */
import { createHash } from "node:crypto";
import style from "./page.css" with { type: "text" };
import { type Html, markup, trusted } from "./html_text.ts";

/**
 * The head of a page, up to the start of its body.
 *
 * @param script The one script that may run in it.
 */
export function renderHead(title: string, script?: string): Html {
  const policy = [
    "default-src 'none'",
    `style-src '${hashOf(style)}'`,
    ...script === undefined ? [] : [`script-src '${hashOf(script)}'`],
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${trusted(style)}</style>
</head>
<body>
`;
}

function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
