-- Ends a task; its message is removed afterwards. KEYS: leases, record. ARGV: lease, token, status, field, text,
-- seconds that the record stays, steps.
local leases, record = KEYS[1], KEYS[2]
local lease, token, status = ARGV[1], ARGV[2], ARGV[3]
local seen = redis.call('HMGET', record, 'token', 'ended_by')
if seen[1] ~= token then
  -- The answer to an earlier call may have been lost on its way.
  return seen[2] == token and 1 or 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', record, 'status', status, ARGV[4], ARGV[5], 'ended_ms', string.format('%.0f', now),
  'ended_by', token, 'steps', ARGV[7])
redis.call('HDEL', record, 'token', 'worker')
if status == 'done' then
  redis.call('HDEL', record, 'checkpoint')
end
redis.call('EXPIRE', record, ARGV[6])
redis.call('ZREM', leases, lease)
return 1
