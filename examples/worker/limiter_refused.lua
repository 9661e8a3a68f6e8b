-- Judges a refusal because of a rate: it concerns everybody, or only the request that was refused.
--
-- A request that is refused again, while others had answers in between and no other was refused for the first time, is
-- refused for what it is. A first refusal while others have answers may be one: that request alone tries again soon,
-- which tells. Two such requests a minute are given that chance; at the third, everybody pauses.
--
-- A pause is a few seconds at most, and ends no sooner than the provider says. It is twice as long as the
-- last one if that was less than a minute ago. What was refused during a pause had been sent before it, and makes it no
-- longer.
-- KEYS: the pace of one worker scope, the hash of the limit, the requests of the scope that were refused.
-- ARGV: microseconds of a minute, of the shortest pause, and of the longest; the name of the request; 1 if the provider
-- said when the block ends.
-- Answers who waits: 'all', 'alone', or 'first' if only the request itself does until more is known; and until when, in
-- milliseconds.
local minute, shortest, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local name, is_named = ARGV[4], ARGV[5] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local said = redis.call('HMGET', KEYS[1], 'pause', 'pause_ends', 'answered', 'first_refused', 'first_before')
local pause, ends, answered = tonumber(said[1] or '') or 0, tonumber(said[2] or '') or 0, tonumber(said[3] or '') or 0
local first, before = tonumber(said[4] or '') or 0, tonumber(said[5] or '') or 0
local last = tonumber(redis.call('ZSCORE', KEYS[3], name) or '')
local text = function(number) return string.format('%.0f', number) end
local kept = math.ceil(minute / 1000 * 3)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', text(now - 3 * minute))
redis.call('ZADD', KEYS[3], text(now), name)
redis.call('PEXPIRE', KEYS[3], kept)
if not last then
  redis.call('HSET', KEYS[1], 'first_refused', text(now), 'first_before', text(first))
end
redis.call('PEXPIRE', KEYS[1], kept)
local until_ms = function(moment) return math.ceil(moment / 1000) end
if last and first <= last and answered > last then
  return {'alone', until_ms(now + shortest)}
end
if ends <= now then
  -- Others have answers, and at most one other request was refused in the last minute.
  if not is_named and not last and answered > now - minute and before <= now - minute then
    return {'first', until_ms(now + shortest)}
  end
  pause = now < ends + minute and math.min(pause * 2, longest) or shortest
  ends = now + pause
  redis.call('HSET', KEYS[1], 'pause', text(pause), 'pause_ends', text(ends))
end
if not is_named then
  redis.call('HSET', KEYS[2], 'guess_ms', text(until_ms(ends)))
end
redis.call('HDEL', KEYS[2], 'trial_ms')
return {'all', until_ms(ends)}
