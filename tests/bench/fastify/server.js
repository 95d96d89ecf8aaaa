// The peer of the benchmark: what a careful team would write without the batcher. Fastify with its logger and query
// parser off, one process per core (node:cluster), a pg pool per process on the unix socket, and one call of
// postback.receive() per request as a named prepared statement: parsed and planned once per connection.
//
// PORT and the usual PG* variables configure it; WORKERS (2) and POOL (connections per worker) are for tuning.

import cluster from 'node:cluster';
import Fastify from 'fastify';
import pg from 'pg';

const workers = Number(process.env.WORKERS ?? 2);
const pool_size = Number(process.env.POOL ?? 16);

async function serve() {
  const pool = new pg.Pool({ max: pool_size, idleTimeoutMillis: 0 });
  const app = Fastify({ logger: false, routerOptions: { querystringParser: (text) => text } });

  pool.on('error', (error) => {
    console.error(error.message);
    process.exit(1);
  });

  app.get('/p/:token', async (request, reply) => {
    const { rows: [row] } = await pool.query({
      name: 'receive',
      text: 'SELECT http_status, content_type, body FROM postback.receive($1, $2)',
      values: [request.params.token, request.query],
      rowMode: 'array',
    });
    reply.code(row[0]).header('content-type', row[1]);
    return row[2];
  });

  // Every connection is open and warm before the first request comes.
  const clients = await Promise.all(Array.from({ length: pool_size }, () => pool.connect()));
  clients.forEach((client) => client.release());
  await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT), backlog: 1024 });
}

if (cluster.isPrimary) {
  for (let i = 0; i < workers; i++) cluster.fork();
  cluster.on('exit', () => process.exit(1));
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM');
      process.exit(0);
    });
  }
} else {
  process.on('SIGINT', () => {});
  await serve();
}
