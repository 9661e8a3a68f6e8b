-- Begins the task of an entry that was given to us. KEYS: stream, record. ARGV: group, consumer, entry, token.
local stream, record = KEYS[1], KEYS[2]
local group, consumer, entry, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function pending(id)
  return redis.call('XPENDING', stream, group, id, id, 1)[1]
end

local function drop()
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end

local mine = pending(entry)
if not mine or mine[2] ~= consumer then
  return {'elsewhere', '', 0, 0}
end
local seen = redis.call('HMGET', record, 'status', 'message', 'checkpoint', 'started_ms')
if seen[1] == 'done' then
  drop()
  return {'done', '', 0, 0}
end
-- Exactly one message carries a task: the first that was begun, for as long as it is there.
if seen[2] and seen[2] ~= entry and pending(seen[2]) then
  drop()
  return {'duplicate', '', 0, 0}
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
redis.call('HSET', record, 'status', 'running', 'token', token, 'message', entry, 'worker', consumer,
  'attempts', mine[4])
redis.call('HSETNX', record, 'started_ms', now)
redis.call('HDEL', record, 'error', 'ended_ms', 'ended_by')
redis.call('PERSIST', record)
-- The lease begins at this moment, and not when the entry was handed out.
redis.call('XCLAIM', stream, group, consumer, 0, entry, 'JUSTID')
return {'run', seen[3] or '', mine[4], seen[4] and 0 or 1}
