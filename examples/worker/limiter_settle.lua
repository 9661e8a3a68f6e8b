-- Corrects a reservation once it is known what was used. KEYS: the pace of one worker scope. ARGV: microseconds of a
-- minute; then for each dimension its name, its rate a minute, and what was used more than reserved.
for i = 2, #ARGV, 3 do
  local full = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '')
  if full then
    full = full + tonumber(ARGV[i + 2]) * tonumber(ARGV[1]) / tonumber(ARGV[i + 1])
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', full))
  end
end
return 1
