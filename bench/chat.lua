-- wrk's load: one short chat completion, of one of 256 users in turn. Arguments: the key, the model.
-- Its last line of output is what bench/load.py reads: microseconds, requests, microseconds, failures.
local USERS = 256
local bodies, turn = {}, 0

function init(args)
  local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. args[1] }
  for user = 1, USERS do
    bodies[user] = wrk.format("POST", nil, headers, string.format(
      '{"model":"%s","user":"user-%d","max_tokens":64,"temperature":0,"messages":[' ..
      '{"role":"system","content":"Say whether the review is positive, neutral or negative."},' ..
      '{"role":"user","content":"The battery lasts two days and the screen is bright, but the speaker is poor."}]}',
      args[2], user))
  end
end

function request()
  turn = turn % USERS + 1
  return bodies[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("%d %d %d %d\n", latency:percentile(50), summary.requests, summary.duration, failed))
end
