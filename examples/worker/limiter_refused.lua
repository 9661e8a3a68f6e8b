-- Judges a refusal because of a rate: it concerns everybody, or only the request that was refused.
--
-- A request that is refused again, while others had answers in between and no other was refused for the first time, is
-- refused for what it is. Where the provider says when to come again, chance is likelier, so it takes five answers. The
-- first refusal of a request may be one: that request alone tries again soon, which tells. Two such requests a minute
-- are given that chance; at the third, everybody pauses.
--
-- A pause is a few seconds at most, and ends no sooner than the provider says. It is twice as long as the last one if
-- that was less than a minute ago. What was refused during a pause had been sent before it, and makes it no longer.
-- KEYS: the pace of one worker scope, the hash of the limit, the requests of the scope that were refused, with the time
-- and the number of answers before.
-- ARGV: microseconds of a minute, of the shortest pause, and of the longest; the name of the request; 1 if the provider
-- said when the block ends.
-- Answers who waits: 'all', 'alone', or 'first' if only the request itself does until more is known; and until when, in
-- milliseconds.
local minute, shortest, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local name, is_named = ARGV[4], ARGV[5] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local said =
  redis.call('HMGET', KEYS[1], 'pause', 'pause_ends', 'answers', 'first_refused', 'first_before')
local number = function(index) return tonumber(said[index] or '') or 0 end
local text = function(moment) return string.format('%.0f', moment) end
local until_ms = function(moment) return math.ceil(moment / 1000) end
local pause, ends, answers, first, before = number(1), number(2), number(3), number(4), number(5)
local last, count = string.match(redis.call('HGET', KEYS[3], name) or '', '^(%d+) (%d+)$')
if redis.call('HLEN', KEYS[3]) >= 1000 then
  redis.call('DEL', KEYS[3])
end
redis.call('HSET', KEYS[3], name, text(now) .. ' ' .. text(answers))
local kept = math.ceil(minute / 1000 * 3)
redis.call('PEXPIRE', KEYS[3], kept)
if not last then
  redis.call('HSET', KEYS[1], 'first_refused', text(now), 'first_before', text(first))
elseif first <= tonumber(last) and answers - tonumber(count) >= (is_named and 5 or 1) then
  return {'alone', until_ms(now + shortest)}
end
if ends <= now then
  -- At most one other request was refused in the last minute.
  if not is_named and not last and before <= now - minute then
    redis.call('PEXPIRE', KEYS[1], kept)
    return {'first', until_ms(now + shortest)}
  end
  pause = now < ends + minute and math.min(pause * 2, longest) or shortest
  ends = now + pause
  redis.call('HSET', KEYS[1], 'pause', text(pause), 'pause_ends', text(ends))
end
redis.call('PEXPIRE', KEYS[1], kept)
if not is_named then
  redis.call('HSET', KEYS[2], 'guess_ms', text(until_ms(ends)))
end
redis.call('HDEL', KEYS[2], 'trial_ms')
return {'all', until_ms(ends)}
