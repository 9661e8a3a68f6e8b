-- Moves an entry that is no task away. KEYS: stream, dead-letter stream. ARGV: group, entry, text, reason.
redis.call('XADD', KEYS[2], '*', 'task', ARGV[3], 'reason', ARGV[4])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
