// Runs the scripts of clients, each against each server of LLORCH_SERVERS, in one process. A line
// `run SCRIPT SERVER` precedes what a script prints.

import { use } from "./support.mjs";

for (const script of process.argv.slice(2)) {
  for (const server of JSON.parse(process.env.LLORCH_SERVERS)) {
    use(server);
    console.log("run", script, server.name);
    // The query makes it another module, which is evaluated again.
    await import(`./${script}?${server.name}`);
  }
}
