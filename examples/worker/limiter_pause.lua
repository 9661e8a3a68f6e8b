-- How long to pause after a refusal: a pause is twice as long as the last one if that was less than a minute ago. What
-- was refused during a pause had been sent before it, and makes it no longer.
-- KEYS: the pace of one worker scope. ARGV: microseconds of a minute, of the shortest pause, and of the longest.
-- Answers microseconds from now.
local minute, shortest, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local seen = redis.call('HMGET', KEYS[1], 'pause', 'pause_ends')
local pause, ends = tonumber(seen[1] or '') or 0, tonumber(seen[2] or '') or 0
if now < ends then
  return math.ceil(ends - now)
end
pause = now < ends + minute and math.min(pause * 2, longest) or shortest
redis.call('HSET', KEYS[1], 'pause', string.format('%.0f', pause), 'pause_ends', string.format('%.0f', now + pause))
redis.call('PEXPIRE', KEYS[1], math.ceil(minute / 1000 * 3))
return math.ceil(pause)
