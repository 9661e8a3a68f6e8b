-- Moves an element that is no task away. KEYS: processing list, dead-letter list. ARGV: element.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then
  redis.call('LPUSH', KEYS[2], ARGV[1])
end
return 1
