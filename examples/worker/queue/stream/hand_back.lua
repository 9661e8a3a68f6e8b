-- Puts a task back: its entry stays pending, as old as an entry of a dead worker, and is claimed before new ones are
-- read. KEYS: stream, record. ARGV: group, consumer that stands for nobody, entry, token, milliseconds it has been
-- idle, attempts that count.
local stream, record = KEYS[1], KEYS[2]
local group, nobody, entry, token, idle, attempts = unpack(ARGV)
if redis.call('HGET', record, 'token') ~= token then
  return 0
end
redis.call('HSET', record, 'status', 'queued', 'attempts', attempts)
redis.call('HDEL', record, 'token', 'worker')
redis.call('XCLAIM', stream, group, nobody, 0, entry, 'IDLE', idle, 'RETRYCOUNT', attempts, 'JUSTID')
return 1
