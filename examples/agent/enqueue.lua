-- Puts a task in together with its record, unless its idempotency key has a task already, too many tasks wait, or
-- the caller knows better.
--
-- KEYS: the queue, the task's record, and the idempotency key if there is one.
-- ARGV: 1 stream or list, 2 consumer group, 3 most that may wait, 4 whether a new task may be put in (1 or 0),
--       5 message, 6 id, 7 enqueued (unix ms), 8 fingerprint of the prompt, 9 life of the key (ms), 10 what
--       records' keys begin with.
--
-- Redis runs a script alone, and does not undo what one has written before it failed. So whatever may fail, keys of a
-- wrong type above all, is asked for before the first write.

if KEYS[3] then
  local id, fingerprint = string.match(redis.call('GET', KEYS[3]) or '', '^(%S+) (%S+)$')
  -- A record that is gone has taken its task with it: the key is free again.
  local status = id and redis.call('HGET', ARGV[10] .. id, 'status')
  if status then
    return {'known', id, fingerprint, status}
  end
end
if ARGV[4] == '0' then
  return {'refused'}
end

local most = tonumber(ARGV[3])
local waiting
if ARGV[1] == 'list' then
  waiting = redis.call('LLEN', KEYS[1])
else
  waiting = redis.call('XLEN', KEYS[1])
  -- Running tasks are still in the stream, so its length alone can only acquit.
  if waiting >= most then
    for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
      local group = {}
      for i = 1, #fields, 2 do
        group[fields[i]] = fields[i + 1]
      end
      if group.name == ARGV[2] then
        -- Redis knows no lag where workers delete what they acknowledge; then all that is left is waiting or pending.
        waiting = math.min(waiting, group.lag or waiting - group.pending)
      end
    end
  end
end
if waiting >= most then
  return {'full'}
end

if ARGV[1] == 'list' then
  redis.call('LPUSH', KEYS[1], ARGV[5])
else
  redis.call('XADD', KEYS[1], '*', 'task', ARGV[5])
end
redis.call('HSET', KEYS[2], 'status', 'queued', 'attempts', 0, 'enqueued_ms', ARGV[7])
if KEYS[3] then
  redis.call('SET', KEYS[3], ARGV[6] .. ' ' .. ARGV[8], 'PX', ARGV[9])
end
return {'new'}
