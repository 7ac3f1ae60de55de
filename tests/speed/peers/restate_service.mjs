// The echo conversation as a Restate workflow: a question, an answer that it waits for, a result. Serves on 127.0.0.1 at the port that
// is its argument. Its SDK is found beside the server's package, in $PEERS_NODE_MODULES.
import http2 from "node:http2";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The SDK calls it, and Node 20 does not have it.
Promise.withResolvers ??= () => {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};

const require = createRequire(`${process.env.PEERS_NODE_MODULES}/`);
const restate = await import(pathToFileURL(require.resolve("@restatedev/restate-sdk")).href);

const echo = restate.workflow({
  name: "Echo",
  handlers: {
    run: async (ctx) => {
      await ctx.promise("question").resolve("What should I echo?");
      return `echo: ${await ctx.promise("answer")}`;
    },
    // Returns when there is a question: the client waits in its request.
    question: async (ctx) => await ctx.promise("question"),
    answer: async (ctx, text) => {
      await ctx.promise("answer").resolve(text);
    },
  },
});

const server = http2.createServer(restate.endpoint().bind(echo).http2Handler());
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
process.on("SIGTERM", () => process.exit(0));
