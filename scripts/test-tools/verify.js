// Verifies webhooks with the Standard Webhooks library that npm publishes; how it is asked stands in install-test-tools.
const { Webhook } = require("standardwebhooks");

function verdict(line) {
  try {
    const { secret, headers, body } = JSON.parse(line);
    new Webhook(secret).verify(body, headers);
    return { ok: true };
  } catch (error) {
    return { ok: false, error: String(error) };
  }
}

const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", (line) => console.log(JSON.stringify(verdict(line))));
