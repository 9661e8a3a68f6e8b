-- Reserves the next moment at which a request may start, so that those who wait go one after the other and none of
-- them asks twice. Each dimension is a token bucket that fills at its rate, kept as the time at which it will be full
-- again (GCRA, the "theoretical arrival time"), in microseconds of Redis's clock.
-- KEYS: the pace of one worker scope, the hash of the limit.
-- ARGV: microseconds of a minute, of the burst, and of the longest reservation; then for each dimension its name, its
-- rate a minute, the amount to reserve, and the amount of a reservation to be given up.
-- Answers: 1 and the microseconds to wait; or 0 and how long to wait before asking again.
local minute, burst, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local start = now
local blocked = tonumber(redis.call('HGET', KEYS[2], 'blocked_ms') or '') or 0
local refused = tonumber(redis.call('HGET', KEYS[2], 'blocked_seen') or '')
-- Five minutes after the last refusal somebody has to find out whether the block is over; and where nobody says when
-- that was, an end that is further than ten minutes away is not believed.
if refused then
  blocked = math.min(blocked, refused + 300000)
elseif blocked * 1000 > now + 600000000 then
  blocked = 0
end
local wanted = {}
local is_blocked = blocked * 1000 > now
if is_blocked then
  start = blocked * 1000
end
for i = 4, #ARGV, 4 do
  local name, rate = ARGV[i], tonumber(ARGV[i + 1])
  local cost = tonumber(ARGV[i + 2]) * minute / rate
  local full = tonumber(redis.call('HGET', KEYS[1], name) or '') or 0
  full = full - tonumber(ARGV[i + 3]) * minute / rate
  local then_full = full
  if is_blocked then
    -- Whoever refused has nothing left: after a block there is no burst.
    then_full = math.max(full, blocked * 1000 + math.max(burst - cost, 0))
  end
  -- A request that is larger than the burst waits for a full bucket, and no longer.
  start = math.max(start, then_full + cost - math.max(burst, cost))
  wanted[#wanted + 1] = {name, full, then_full, cost}
end
local reserved = start - now <= longest
for _, each in ipairs(wanted) do
  local full = each[2]
  if reserved then
    full = math.max(each[3], start) + each[4]
  end
  redis.call('HSET', KEYS[1], each[1], string.format('%.0f', full))
end
redis.call('PEXPIRE', KEYS[1], math.ceil(minute / 1000 * 2 + longest / 1000))
if reserved then
  return {1, math.ceil(start - now)}
end
return {0, math.ceil(start - now)}
