-- Renews leases. KEYS: leases, then a record for each. ARGV: worker, milliseconds of the lease, then task and token
-- for each.
local leases, worker, lease = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = {}
for i = 2, #KEYS do
  local member, token = worker .. '/' .. ARGV[2 * i - 1], ARGV[2 * i]
  local until_ms = redis.call('ZSCORE', leases, member)
  -- A lease that has ended is not renewed: its element may be in the queue again.
  if until_ms and tonumber(until_ms) > now and redis.call('HGET', KEYS[i], 'token') == token then
    redis.call('ZADD', leases, string.format('%.0f', now + lease), member)
    kept[#kept + 1] = 1
  else
    kept[#kept + 1] = 0
  end
end
return kept
