-- Ends a task. KEYS: stream, record, dead-letter stream. ARGV: group, entry, token, status, field, text, seconds
-- that the record stays, steps, task.
local stream, record, dead = KEYS[1], KEYS[2], KEYS[3]
local group, entry, token, status = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local seen = redis.call('HMGET', record, 'token', 'ended_by', 'attempts')
if seen[1] ~= token then
  -- The answer to an earlier call may have been lost on its way.
  return seen[2] == token and 1 or 0
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
redis.call('HSET', record, 'status', status, ARGV[5], ARGV[6], 'ended_ms', now, 'ended_by', token, 'steps', ARGV[8])
redis.call('HDEL', record, 'token', 'worker')
if status == 'failed' then
  redis.call('XADD', dead, '*', 'task', ARGV[9], 'reason', ARGV[6], 'attempts', seen[3] or 0)
else
  redis.call('HDEL', record, 'checkpoint')
end
redis.call('EXPIRE', record, ARGV[7])
redis.call('XACK', stream, group, entry)
redis.call('XDEL', stream, entry)
return 1
