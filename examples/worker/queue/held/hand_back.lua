-- Lets go of a task; its message is given to others afterwards. KEYS: leases, record. ARGV: lease, token, attempts
-- that count.
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[2], 'status', 'queued', 'attempts', ARGV[3])
redis.call('HDEL', KEYS[2], 'token', 'worker')
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
