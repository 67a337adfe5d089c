// What node's fetch sees through the gateway at the port given; prints one JSON object.
const base = `http://127.0.0.1:${process.argv[2]}/app`;
const big = "x".repeat(300_000);

const page = await fetch(`${base}/page?q=1`);
const posted = await fetch(`${base}/posted`, { method: "POST", body: big });
const parts = new ReadableStream({
  start(controller) {
    for (let number = 0; number < 100; number++) controller.enqueue(new TextEncoder().encode("part " + number));
    controller.close();
  },
});
const streamed = await fetch(`${base}/streamed`, { method: "PUT", body: parts, duplex: "half" });
const head = await fetch(`${base}/head`, { method: "HEAD" });
const many = await Promise.all(
  Array.from({ length: 40 }, async (_, number) => (await fetch(`${base}/many?n=${number}`)).status),
);
const chunked = await fetch(`${base}/chunked`);

console.log(JSON.stringify({
  page: [page.status, await page.text(), page.headers.get("x-request-id") !== null],
  posted: [posted.status, await posted.text()],
  streamed: [streamed.status, await streamed.text()],
  head: [head.status, head.headers.get("content-length"), await head.text()],
  many: many.every((status) => status === 200) && many.length,
  chunked: [chunked.status, (await chunked.text()).length],
}));
