-- Corrects a reservation once it is known what was used. KEYS: the pace of one worker scope. ARGV: microseconds of a
-- minute and of the burst, and 1 if the request has its answer, 0 if it was refused; then for each dimension its name,
-- its rate a minute, and what was used more than reserved.
local minute, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
for i = 4, #ARGV, 3 do
  local full = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '')
  if full then
    local more = tonumber(ARGV[i + 2]) * minute / tonumber(ARGV[i + 1])
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', full + more))
    -- A large request was refused, so requests that reserved a moment after it may start earlier.
    if ARGV[3] == '0' and more < -burst then
      redis.call('HSET', KEYS[1], 'returned', now)
    end
  end
end
if ARGV[3] == '1' then
  redis.call('HINCRBY', KEYS[1], 'answers', 1)
  if redis.call('PTTL', KEYS[1]) < minute / 1000 then
    redis.call('PEXPIRE', KEYS[1], math.ceil(minute / 1000 * 3))
  end
end
return 1
