// Serves Supabase Lite on loopback for one database; everything comes from the environment.
import { serve } from "@hono/node-server";
import { App } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";

const { PORT, DATABASE, JWT_SECRET, PUBLISHABLE_KEY, SECRET_KEY } = process.env;

// Lite makes JSON text of a function's jsonb arguments, and the driver would make JSON text of that once more.
const jsonText = (oid) => ({
  to: oid,
  from: [oid],
  serialize: (value) => (typeof value === "string" ? value : JSON.stringify(value)),
  parse: (text) => JSON.parse(text),
});

const app = new App({
  connection: createPostgresConnection({
    url: `postgres:///${DATABASE}`,
    postgresOptions: { onnotice: () => {}, types: { json: jsonText(114), jsonb: jsonText(3802) } },
  }),
  api: { schemas: ["captionacc"] },
  auth: { enabled: true, jwt_secret: JWT_SECRET, publishable_key: PUBLISHABLE_KEY, secret_key: SECRET_KEY },
});

serve({
  port: Number(PORT),
  hostname: "127.0.0.1",
  fetch: (request, environment) =>
    app.fetch(request, { peerAddress: environment.incoming.socket.remoteAddress ?? null }),
});
