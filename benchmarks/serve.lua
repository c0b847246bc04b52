-- What wrk sends and says: bodies of a file in turn, one a line; at the end one JSON object.
-- SERVE_TOKEN and SERVE_BODIES come by environment, so that no token stands in a list of processes.
local bodies, at = {}, 0
local threads = {}

function setup(thread)
  thread:set("first", #threads * 1000) -- each thread begins elsewhere, so that equal texts rarely meet
  table.insert(threads, thread)
end

function init(args)
  for line in io.lines(os.getenv("SERVE_BODIES")) do table.insert(bodies, line) end
  at = first
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("SERVE_TOKEN")
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  at = at + 1
  return wrk.format("POST", "/v1/score", nil, bodies[at % #bodies + 1])
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
