-- wrk's load: one short completion, of one of 256 users in turn. Arguments: the key, the model, the API.
-- Its last line of output is what bench/load.py reads: microseconds, requests, microseconds, failures.
local USERS = 256
local SYSTEM = "Say whether the review is positive, neutral or negative."
local REVIEW = "The battery lasts two days and the screen is bright, but the speaker is poor."
local ASKED = '[{"role":"user","content":"' .. REVIEW .. '"}]'
-- The same request in each API. %s is the number of its user.
local FIELDS = {
  chat = '"user":"user-%s","max_tokens":64,"messages":[{"role":"system","content":"' .. SYSTEM .. '"},' ..
    ASKED:sub(2),
  messages = '"metadata":{"user_id":"user-%s"},"max_tokens":64,"system":"' .. SYSTEM .. '","messages":' .. ASKED,
  responses = '"user":"user-%s","max_output_tokens":64,"instructions":"' .. SYSTEM .. '","input":' .. ASKED,
}
local bodies, turn = {}, 0

function init(args)
  local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. args[1] }
  for user = 1, USERS do
    bodies[user] = wrk.format("POST", nil, headers,
      '{"model":"' .. args[2] .. '","temperature":0,' .. FIELDS[args[3]]:format(user) .. '}')
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
