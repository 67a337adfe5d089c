// A node:http server as people write them.
import { createServer } from "node:http";

createServer((request, response) => {
  const url = new URL(request.url, "http://app");
  switch (`${request.method} ${url.pathname}`) {
    case "GET /node/hello":
    case "HEAD /node/hello":
      response.setHeader("Content-Type", "application/json");
      response.setHeader("Set-Cookie", ["one=1", "two=2"]);
      return response.end(JSON.stringify({
        path: url.pathname,
        query: url.search.slice(1),
        host: request.headers.host,
        user: request.headers["x-user-id"] ?? null,
        client: request.headers["x-forwarded-for"] ?? null,
      }));
    case "POST /node/echo":
      response.setHeader("Content-Type", request.headers["content-type"]);
      return request.pipe(response);
    case "GET /node/stream":
      response.setHeader("Content-Type", "text/plain");
      for (let number = 0; number < 5; number++) response.write(`part ${number}\n`);
      return response.end();
    case "GET /node/empty":
      return response.writeHead(204).end();
    case "GET /node/broken":
      return response.writeHead(500).end("Internal Server Error");
    default:
      return response.writeHead(404).end();
  }
}).listen(Number(process.argv[2]), "127.0.0.1");
