// SPDX-License-Identifier: MIT
//
// Perfetto's trace processor, as its user interface runs it (engine_bundle.js with trace_processor.wasm, in a web worker),
// outside a browser: what the bundle expects of a worker is put round it. Requests come on stdin and replies go to
// stdout, both as TraceProcessorRpcStream; each request is led by its length in 4 bytes, big-endian.
"use strict";
const fs = require("fs");
const path = require("path");

const directory = process.argv[2];
const write = (bytes) => {
  for (let at = 0; at < bytes.length;) at += fs.writeSync(1, bytes, at);
};

// what is asked for by name is a file beside the bundle
class FileRequest {
  open(_, name) { this.name = name; }
  send() {
    const bytes = fs.readFileSync(path.join(directory, path.basename(this.name)));
    this.response = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    this.status = 200;
  }
}
const define = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
define("self", globalThis);
define("location", { href: "file:///engine_bundle.js" });
define("WorkerGlobalScope", class {});
define("importScripts", () => {});
define("XMLHttpRequest", FileRequest);
define("process", undefined); // else the bundle takes this for node, which it was not built for
// It asks for 64-bit memory by a module that only has some; node's may be of another draft: there is a 32-bit engine too.
const Module = WebAssembly.Module;
WebAssembly.Module = function (bytes) {
  if (bytes[8] === 5 && bytes[11] === 4) throw new Error("no 64-bit memory");
  return new Module(bytes);
};
console.log = console.warn = console.error = (text) => fs.writeSync(2, text + "\n");

(0, eval)(fs.readFileSync(path.join(directory, "engine_bundle.js"), "utf8"));
const port = { postMessage: (bytes) => write(bytes) };
globalThis.onmessage({ data: port });

const exactly = (n) => {
  const bytes = Buffer.alloc(n);
  for (let at = 0; at < n;) {
    const got = fs.readSync(0, bytes, at, n - at, null);
    if (!got) return null;
    at += got;
  }
  return bytes;
};
setTimeout(() => { // the module is up by then: it is made in one piece
  for (let length; (length = exactly(4));) {
    const request = exactly(length.readUInt32BE(0));
    port.onmessage({ data: new Uint8Array(request) });
  }
}, 0);
