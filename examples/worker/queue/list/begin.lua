-- Begins the task of an element that was moved to the processing list. KEYS: processing list, leases, record.
-- ARGV: element, worker, task, token, milliseconds of the lease.
local processing, leases, record = KEYS[1], KEYS[2], KEYS[3]
local element, worker, task, token, lease = unpack(ARGV)

local function there(text)
  return #redis.call('LPOS', processing, text, 'COUNT', 2)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('HMGET', record, 'status', 'message', 'checkpoint', 'started_ms', 'token', 'worker')
if seen[5] == token then
  -- The answer to an earlier call was lost on its way.
  local attempts = redis.call('HGET', record, 'attempts')
  return {'run', seen[3] or '', tonumber(attempts), 0}
end
local copies = there(element)
if copies == 0 then
  return {'elsewhere', '', 0, 0}
end
if seen[1] == 'done' then
  redis.call('LREM', processing, 1, element)
  return {'done', '', 0, 0}
end
if seen[5] then
  local until_ms = redis.call('ZSCORE', leases, (seen[6] or '') .. '/' .. task)
  if until_ms and tonumber(until_ms) > now then
    -- Somebody runs it. This is a second message of the task, or the same one, which was put back and taken again
    -- before it was begun.
    if seen[2] == element and copies == 1 then
      return {'elsewhere', '', 0, 0}
    end
    if seen[2] == element or there(seen[2]) > 0 then
      redis.call('LREM', processing, 1, element)
      return {'duplicate', '', 0, 0}
    end
  end
end
if seen[1] == 'failed' then
  -- Somebody put a dead letter back: it has all its attempts again.
  redis.call('HDEL', record, 'attempts')
end
redis.call('HSET', record, 'status', 'running', 'token', token, 'message', element, 'worker', worker)
local attempts = redis.call('HINCRBY', record, 'attempts', 1)
redis.call('HSETNX', record, 'started_ms', string.format('%.0f', now))
redis.call('HDEL', record, 'error', 'ended_ms', 'ended_by')
redis.call('PERSIST', record)
redis.call('ZADD', leases, string.format('%.0f', now + lease), worker .. '/' .. task)
return {'run', seen[3] or '', attempts, seen[4] and 0 or 1}
