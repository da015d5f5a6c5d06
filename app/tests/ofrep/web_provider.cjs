// Asks a server for flags with OpenFeature's own web provider, as it comes from npm.
//
// Arguments: the server's URL, the folder of `node_modules`, and how many sessions to ask for. Writes
// a line of JSON with the answers, waits until the server's event stream has told of a change, and
// writes a second line. Ends by itself.

'use strict';

const { createRequire } = require('node:module');
const path = require('node:path');

async function main(url, modules, sessions) {
  const load = createRequire(path.join(modules, 'from-here.js'));
  const { OpenFeature, ProviderEvents } = load('@openfeature/web-sdk');
  const { OFREPWebProvider } = load('@openfeature/ofrep-web-provider');

  // No polling: only the event stream can tell of a change.
  const provider = new OFREPWebProvider({ baseUrl: url, pollInterval: 0, changeDetection: 'sse' });
  await OpenFeature.setContext({ targetingKey: 'session-0' });
  await OpenFeature.setProviderAndWait(provider);
  const client = OpenFeature.getClient();

  const answers = [];
  for (let number = 0; number < sessions; number += 1) {
    await OpenFeature.setContext({ targetingKey: `session-${number}` });
    answers.push(client.getBooleanValue('use_v2_pool', false));
  }
  const changed = new Promise((resolve) => {
    client.addHandler(ProviderEvents.ConfigurationChanged, (details) => {
      if ((details.flagsChanged ?? []).includes('telemetry_v2')) {
        resolve();
      }
    });
  });
  const before = client.getBooleanDetails('telemetry_v2', false);
  console.log(JSON.stringify({ sessions: answers, before, unknown: client.getBooleanDetails('use_v2_pol', false) }));
  await changed;
  console.log(JSON.stringify({ after: client.getBooleanValue('telemetry_v2', true) }));
  await OpenFeature.close();
  process.exit(0);
}

main(process.argv[2], process.argv[3], Number(process.argv[4])).catch((error) => {
  console.error(error);
  process.exit(1);
});
