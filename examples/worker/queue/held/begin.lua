-- Begins the task of a message that lies outside of Redis. KEYS: leases, record. ARGV: message, worker, task, token,
-- milliseconds of the lease, how often the message was delivered.
local leases, record = KEYS[1], KEYS[2]
local message, worker, task, token, lease, delivered = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('HMGET', record, 'status', 'message', 'checkpoint', 'started_ms', 'token', 'worker', 'error',
  'attempts')
if seen[5] == token then
  -- The answer to an earlier call was lost on its way.
  return {'run', seen[3] or '', tonumber(seen[8]), 0}
end
if seen[1] == 'done' then
  return {'done', '', 0, 0}
end
if seen[5] then
  local until_ms = redis.call('ZSCORE', leases, (seen[6] or '') .. '/' .. task)
  if until_ms and tonumber(until_ms) > now then
    -- Somebody runs it: of this message, which was delivered twice, or of another one that carries the same task.
    return {seen[2] == message and 'elsewhere' or 'duplicate', '', 0, 0}
  end
end
if seen[1] == 'failed' then
  if seen[2] == message then
    -- It was given up, and whoever did so has not got as far as the dead-letter queue.
    return {'dead', seen[7] or '', tonumber(seen[8]) or 0, 0}
  end
  -- Somebody put a dead letter back: it has all its attempts again.
  redis.call('HDEL', record, 'attempts')
  seen[8] = false
end
local attempts = seen[8] and tonumber(seen[8]) + 1 or math.max(1, tonumber(delivered))
redis.call('HSET', record, 'status', 'running', 'token', token, 'message', message, 'worker', worker,
  'attempts', attempts)
redis.call('HSETNX', record, 'started_ms', string.format('%.0f', now))
redis.call('HDEL', record, 'error', 'ended_ms', 'ended_by')
redis.call('PERSIST', record)
redis.call('ZADD', leases, string.format('%.0f', now + lease), worker .. '/' .. task)
return {'run', seen[3] or '', attempts, seen[4] and 0 or 1}
