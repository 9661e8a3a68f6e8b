-- Reserves the next moment at which a request may start, so that those who wait go one after the other and none of
-- them asks twice. Each dimension is a token bucket that fills at its rate, kept as the time at which it will be full
-- again (GCRA, the "theoretical arrival time"), in microseconds of Redis's clock.
--
-- No request starts in a block. Where the provider did not say when it ends, or five minutes after the last
-- refusal, one request tries whether it is over, and all others wait for its result.
-- KEYS: the pace of one worker scope, the hash of the limit.
-- ARGV: microseconds of a minute, of the burst, and of the longest reservation; then for each dimension its name, its
-- rate a minute, the amount to reserve, and the amount of a reservation to be given up.
-- Answers: 1 and the microseconds to wait, or 0 and how long to wait before asking again; then the end of the block
-- that this request tries, in milliseconds, -1 if another request is trying, -2 in a block, and 0 otherwise; and the
-- microseconds of now.
local minute, burst, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local said = redis.call('HMGET', KEYS[2], 'blocked_ms', 'blocked_seen', 'guess_ms', 'trial_ms')
local stands, refused = tonumber(said[1] or '') or 0, tonumber(said[2] or '')
local guess, trial = tonumber(said[3] or ''), tonumber(said[4] or '') or 0
local blocked = stands
-- Five minutes after the last refusal somebody has to find out whether the block is over; and where nobody says when
-- that was, an end that is further than ten minutes away is not believed.
if refused then
  blocked = math.min(blocked, refused + 300000)
elseif blocked * 1000 > now + 600000000 then
  blocked, stands = 0, 0
end
local is_blocked = blocked * 1000 > now
local is_guess = guess == stands and stands * 1000 <= now and now < stands * 1000 + minute
local tries = not is_blocked and (is_guess or stands * 1000 > now)
-- How long the others wait for the one that tries. A refusal for a rate comes at once, so a request that takes
-- longer was admitted.
local patience = is_guess and minute / 12 or longest
if tries and trial * 1000 > now then
  for i = 4, #ARGV, 4 do
    local given_up = tonumber(ARGV[i + 3]) * minute / tonumber(ARGV[i + 1])
    if given_up > 0 then
      redis.call('HINCRBY', KEYS[1], ARGV[i], string.format('%.0f', -given_up))
    end
  end
  return {0, math.ceil(trial * 1000 - now), -1, now}
end
if tries and is_guess and trial >= stands then
  tries = false
  redis.call('HDEL', KEYS[2], 'blocked_ms', 'why', 'blocked_seen', 'guess_ms', 'trial_ms')
end
local first = is_blocked and blocked * 1000 or now
local start = first
local wanted = {}
for i = 4, #ARGV, 4 do
  local name, rate = ARGV[i], tonumber(ARGV[i + 1])
  local cost = tonumber(ARGV[i + 2]) * minute / rate
  local full = tonumber(redis.call('HGET', KEYS[1], name) or '') or 0
  full = full - tonumber(ARGV[i + 3]) * minute / rate
  local then_full = full
  if is_blocked or tries then
    -- Whoever refused has nothing left: after a block there is no burst.
    then_full = math.max(full, first + math.max(burst - cost, 0))
  end
  -- A request that is larger than the burst waits for a full bucket, and no longer. The one that tries goes before
  -- those who have reserved their moments.
  if not tries then
    start = math.max(start, then_full + cost - math.max(burst, cost))
  end
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
redis.call('PEXPIRE', KEYS[1], math.ceil(minute / 1000 * 3 + longest / 1000))
if tries then
  redis.call('HSET', KEYS[2], 'trial_ms', string.format('%.0f', math.ceil((now + patience) / 1000)))
end
return {reserved and 1 or 0, math.ceil(start - now), tries and stands or is_blocked and -2 or 0, now}
