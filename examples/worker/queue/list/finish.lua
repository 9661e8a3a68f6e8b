-- Ends a task. KEYS: processing list, leases, record, dead-letter list. ARGV: element, lease, token, status, field,
-- text, seconds that the record stays, steps.
local processing, leases, record, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local element, lease, token, status = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local seen = redis.call('HMGET', record, 'token', 'ended_by')
if seen[1] ~= token then
  -- The answer to an earlier call may have been lost on its way.
  return seen[2] == token and 1 or 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', record, 'status', status, ARGV[5], ARGV[6], 'ended_ms', string.format('%.0f', now),
  'ended_by', token, 'steps', ARGV[8])
redis.call('HDEL', record, 'token', 'worker')
if status == 'failed' then
  redis.call('LPUSH', dead, element)
else
  redis.call('HDEL', record, 'checkpoint')
end
redis.call('EXPIRE', record, ARGV[7])
redis.call('LREM', processing, 1, element)
redis.call('ZREM', leases, lease)
return 1
