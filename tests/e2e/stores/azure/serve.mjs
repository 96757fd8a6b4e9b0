// An Azure storage account on a free port of loopback, which it prints, with the container `bucket`. It ends with its standard input.
// The argument is the folder that has Azurite.

import { createHmac } from "node:crypto";
import { createRequire } from "node:module";

// Azurite's own, which it documents.
const ACCOUNT = "devstoreaccount1";
const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

process.stdin.resume().on("end", () => process.exit(0));

const azurite = createRequire(`${process.argv[2]}/`);
// It reads its options from here.
process.argv.splice(2, 1, "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck", "--silent");
const { BlobServerFactory } = azurite("azurite/dist/src/blob/BlobServerFactory.js");
const server = await new BlobServerFactory().createServer();
await server.start();
const address = server.getHttpServerAddress();
await makeContainer("bucket");
console.log(new URL(address).port);

// "Create Container", with the authorization "Shared Key" of Azure's Blob service REST API.
async function makeContainer(name) {
  const headers = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2024-11-04" };
  const canonical = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`).join("");
  // Azurite has the account in the path, and so twice in here.
  const signed = `PUT${"\n".repeat(12)}${canonical}/${ACCOUNT}/${ACCOUNT}/${name}\nrestype:container`;
  const signature = createHmac("sha256", Buffer.from(KEY, "base64")).update(signed).digest("base64");
  const made = await fetch(`${address}/${ACCOUNT}/${name}?restype=container`, {
    method: "PUT",
    headers: { ...headers, authorization: `SharedKey ${ACCOUNT}:${signature}` },
  });
  if (!made.ok) {
    throw new Error(`the container was not made: ${made.status} ${await made.text()}`);
  }
}
