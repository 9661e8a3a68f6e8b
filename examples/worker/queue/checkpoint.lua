-- Keeps how far a task has got. KEYS: record. ARGV: token, checkpoint, steps.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'checkpoint', ARGV[2], 'steps', ARGV[3])
return 1
