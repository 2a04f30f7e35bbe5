# SPDX-License-Identifier: MIT
# A select loop that another process wakes every 5 ms, stalled by its own computing, by a sleep, and by a thread that
# keeps Ruby's lock for its time slice of 100 ms.
sick = ARGV[0] != "healthy"
bell, ring = IO.pipe
other, _keep = IO.pipe

def compute(seconds)
  stop = Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) + seconds
  nil while Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) < stop
end

child = fork do
  loop do
    sleep 0.005
    ring.write "x"
  end
end

ticks = 0
while ticks < 120
  ready, = IO.select([bell, other], nil, nil, 1)
  next unless ready
  bell.read_nonblock 1000
  ticks += 1
  next unless sick
  compute 0.15 if ticks == 30
  sleep 0.12 if ticks == 60
  Thread.new { compute 0.25 } if ticks == 90
end
Process.kill :KILL, child
