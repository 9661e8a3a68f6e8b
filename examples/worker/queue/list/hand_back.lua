-- Puts a task back. KEYS: processing list, queue, leases, record. ARGV: element, task, lease, token, attempts that
-- count, milliseconds of a pause.
local processing, queue, leases, record = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local element, task, lease, token, attempts, pause = unpack(ARGV)
if redis.call('HGET', record, 'token') ~= token then
  return 0
end
redis.call('ZREM', leases, lease)
redis.call('HSET', record, 'status', 'queued', 'attempts', attempts)
if tonumber(pause) > 0 then
  -- Nobody holds it until the pause is over; then it is put back like a dead worker's.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', record, 'worker', 'later', 'token', 'later')
  redis.call('ZADD', leases, string.format('%.0f', now + pause), 'later/' .. task)
  return 1
end
redis.call('HDEL', record, 'token', 'worker')
if redis.call('LREM', processing, 1, element) == 1 then
  -- The right end: it is taken next.
  redis.call('RPUSH', queue, element)
end
return 1
