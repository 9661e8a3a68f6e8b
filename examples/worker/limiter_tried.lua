-- A request that tried whether a block is over has ended. KEYS: the hash of the limit. ARGV: the end of that block in
-- milliseconds, and 1 if the request was answered: then the block is over, unless another one stands by now.
if ARGV[2] == '1' and redis.call('HGET', KEYS[1], 'blocked_ms') == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'blocked_ms', 'why', 'blocked_seen', 'guess_ms')
end
redis.call('HDEL', KEYS[1], 'trial_ms')
return 1
