// SPDX-License-Identifier: MIT
// Node's loop with a timer of 5 ms, stalled by JavaScript, by native code that it calls, and by JSON.
const crypto = require('crypto');

function hashPassword() {
  crypto.pbkdf2Sync('secret', 'salt', 150000, 64, 'sha512');
}

function readOrders(text) {
  return JSON.parse(text).length;
}

function sumSquares() {
  const end = process.cpuUsage().user + 120e3;
  let sum = 0;
  while (process.cpuUsage().user < end)
    for (let i = 0; i < 100000; i++)
      sum += i * i;
  return sum;
}

const sick = process.argv[2] != 'healthy';
const text = sick ? '[' + '{"id": 1, "items": [1, 2, 3]},'.repeat(300000) + '1]' : '[]';
let ticks = 0;
const timer = setInterval(() => {
  ticks++;
  if (sick && ticks == 30) hashPassword();
  if (sick && ticks == 60) readOrders(text);
  if (sick && ticks == 90) sumSquares();
  if (ticks == 110) clearInterval(timer);
}, 5);
